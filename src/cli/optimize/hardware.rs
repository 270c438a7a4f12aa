//! `--prices` and `--hardware`: what an hour costs, and whether the machine that is meant is this one.

use std::path::Path;

use super::machine;
use crate::daemon::message::{Failure, Kind};
use crate::optimize::speed::Elsewhere;
use crate::prices::{Hourly, NoPrice, Prices, Today};

/// What the price file says.
pub struct Priced {
    pub hourly: Option<Hourly>,
    /// The machine that was named, where its row says that it is another one.
    pub elsewhere: Option<Elsewhere>,
    /// What the machine that measures is called.
    pub name: String,
}

/// Of a price file there must be a row of the machine, a fresh one; of another machine's row there must be one of this as well,
/// since an estimate is what both can do.
pub fn priced(
    path: Option<&Path>,
    name: Option<&str>,
    today: Today,
    fingerprint: &str,
) -> Result<Priced, Failure> {
    let Some(path) = path else {
        let name = name.unwrap_or("this machine").to_owned();
        return Ok(Priced { hourly: None, elsewhere: None, name });
    };
    let Some(name) = name else {
        return Err(Failure::new(Kind::Usage, "--prices without --hardware: which machine is it?")
            .fix("name the row: --hardware NAME"));
    };
    let wrong = |error: String| Failure::new(Kind::Usage, format!("{}: {error}", path.display()));
    let prices = Prices::parse(&machine::small_file(path)?).map_err(|error| wrong(error.to_string()))?;
    let hourly = prices.hardware(name, today).map_err(|error| {
        let rows: Vec<&str> = prices.machines().collect();
        wrong(error.to_string()).fix(match error {
            NoPrice::Missing(_) => {
                format!("name one of its machines ({}), or add a row: git sparse bench-hw", rows.join(", "))
            }
            _ => "look the price up, or --allow-stale".to_owned(),
        })
    })?;
    let there = prices.profile(name).filter(|profile| profile.fingerprint != fingerprint);
    let Some(there) = there else {
        return Ok(Priced { hourly: Some(hourly), elsewhere: None, name: name.to_owned() });
    };
    let (here_name, here) = prices.machine(fingerprint).ok_or_else(|| {
        wrong(format!("{name} is another machine, and there is no row of this one to compare it with"))
            .fix("git sparse bench-hw --name NAME prints one")
    })?;
    let elsewhere = Elsewhere {
        name: name.to_owned(),
        memory: there.memory_gb_per_s / here.memory_gb_per_s,
        arithmetic: there.gflops / here.gflops,
    };
    Ok(Priced { hourly: Some(hourly), elsewhere: Some(elsewhere), name: here_name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of another machine makes estimates, one of this machine or of one that nobody knows makes none.
    #[test]
    fn another_machine_is_known_by_its_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prices.toml");
        let row = |name: &str, rest: &str| {
            format!("[hardware.{name}]\nprice_per_hour_usd = 1\nsource = 'x'\ndate = '2026-11-01'\n{rest}\n")
        };
        let can = |who: &str, memory: f64, gflops: f64| {
            format!("fingerprint = '{who}'\nmemory_gb_per_s = {memory:?}\ngflops = {gflops:?}")
        };
        let today = Today { day: crate::calendar::day("2026-11-02").unwrap(), allow_stale: false };
        let rows = [row("plain", ""), row("big", &can("B", 80.0, 400.0)), row("here", &can("A", 20.0, 50.0))];
        std::fs::write(&path, rows.concat()).unwrap();
        let ask = |name: &str, fingerprint: &str| priced(Some(&path), Some(name), today, fingerprint);
        let found = ask("big", "A").unwrap();
        let elsewhere = Elsewhere { name: "big".into(), memory: 4.0, arithmetic: 8.0 };
        assert_eq!((found.elsewhere, found.name.as_str()), (Some(elsewhere), "here"));
        for (name, fingerprint) in [("here", "A"), ("plain", "A"), ("big", "B")] {
            let found = ask(name, fingerprint).unwrap();
            assert_eq!((found.elsewhere, found.name.as_str()), (None, name));
        }
        let told = ask("big", "C").err().unwrap();
        assert!(told.message.contains("another machine"), "{}", told.message);
    }
}
