//! `.npy` files: header and array, in either order of the dimensions.

use git_sparse::format::{Dtype, Format};

use crate::write::npy;
use crate::{cut_and_rejoin, named};

fn parsed(dictionary: &str, len: usize) -> Option<(Dtype, u64, Vec<u64>)> {
    let cut = cut_and_rejoin(&npy(dictionary, &vec![1; len]));
    if cut.format() == Format::Chunked {
        assert!(named(&cut).is_empty());
        return None;
    }
    let [array] = named(&cut)[..] else { panic!("{dictionary} has no array") };
    assert_eq!(array.range.start, 10 + dictionary.len() as u64);
    Some((array.dtype, array.row_len, array.shape.clone()))
}

/// What NumPy writes is understood; what is not one plain array is not guessed at.
#[test]
fn plain_arrays_are_segments_and_others_are_not() {
    let c = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }   \n";
    assert_eq!(parsed(c, 60), Some((Dtype::F32, 5, vec![3, 5])));
    let fortran = "{'descr': '<f2', 'fortran_order': True, 'shape': (3, 5), }\n";
    assert_eq!(parsed(fortran, 30), Some((Dtype::F16, 3, vec![5, 3])));
    let other_order = "{'shape': (7,), 'fortran_order': False, 'descr': '|i1'}\n";
    assert_eq!(parsed(other_order, 7), Some((Dtype::I8, 7, vec![7])));
    let scalar = "{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n";
    assert_eq!(parsed(scalar, 8), Some((Dtype::I64, 1, vec![])));
    let longer = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }\n";
    assert_eq!(parsed(longer, 9), Some((Dtype::I16, 2, vec![2])), "what follows is filler");

    for odd in [
        "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (100,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': __import__('os').system('x'), 'shape': (1,), }",
        "{'descr': '<f4', 'shape': (1,), }",
        "{'descr': '<f4",
        "",
    ] {
        assert_eq!(parsed(odd, 16), None, "{odd}");
    }
}
