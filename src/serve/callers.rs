//! How many connections each address has open: one client must leave some to the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The addresses that have connections.
#[derive(Clone)]
pub struct Callers {
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection; it counts until this is dropped.
pub struct Admitted {
    callers: Callers,
    from: Option<IpAddr>,
}

impl Callers {
    /// Each address may have `most`.
    pub fn of(most: usize) -> Callers {
        Callers { most, open: Arc::default() }
    }

    /// One connection more, unless its address has as many as it may. A proxy on this machine speaks for many clients: its
    /// connections are not counted.
    pub fn admit(&self, from: IpAddr) -> Option<Admitted> {
        let from = whose(from);
        if let Some(from) = from {
            let mut open = self.open();
            let count = open.entry(from).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        Some(Admitted { callers: self.clone(), from })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some(from) = self.from else { return };
        let mut open = self.callers.open();
        if let Some(count) = open.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                open.remove(&from);
            }
        }
    }
}

/// Who an address stands for. One client of IPv6 has a whole network of 64 bits; none is this machine itself.
fn whose(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        own if own.is_loopback() => None,
        IpAddr::V6(address) => Some(IpAddr::V6((address.to_bits() >> 64 << 64).into())),
        address => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One address must not take all connections, and must get new ones when its old ones are over.
    #[test]
    fn an_address_has_its_part() {
        let callers = Callers::of(2);
        let admit = |text: &str| callers.admit(text.parse().unwrap());
        let first = admit("10.0.0.1");
        let second = admit("::ffff:10.0.0.1");
        assert!(first.is_some() && second.is_some());
        assert!(admit("10.0.0.1").is_none(), "a third of the same");
        assert!(admit("10.0.0.2").is_some());
        drop(first);
        let again = admit("10.0.0.1");
        assert!(again.is_some() && admit("10.0.0.1").is_none());
        let network: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(admit).into();
        assert_eq!(network.iter().flatten().count(), 2, "addresses of one network are one client's");
        let own: Vec<_> = (0..100).map(|_| admit("127.0.0.1")).collect();
        assert_eq!(own.iter().flatten().count(), 100);
        drop((second, again, network, own));
        assert!(callers.open().is_empty(), "what is over is counted");
    }
}
