//! How many rows of two CSV files differ, by their first column, with the crate csv-diff: csv-rows OLD NEW
use std::fs::File;

use csv_diff::csv::Csv;
use csv_diff::csv_diff::CsvByteDiffLocal;

fn main() {
    let [old, new] = [1, 2].map(|at| {
        let path = std::env::args().nth(at).expect("two files are named");
        Csv::with_reader_seek(File::open(path).expect("it is a file"))
    });
    let found = CsvByteDiffLocal::new().expect("it has threads").diff(old, new).expect("these are CSV files");
    println!("{}", found.as_slice().len());
}
