//! Work on many things at once whose results are taken in order, with a bound on what is under way.
//!
//! Files are larger than memory, and a hash over one can't be had in parallel: the things that are
//! ahead are worked on by all threads while one takes what is done. No thread waits for a batch to end.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use rayon::Scope;

/// How long a thread with nothing to do rests before it looks again.
const REST: Duration = Duration::from_micros(50);

/// Does `work` on all items by the threads of rayon's pool and hands the results to `take` in order.
///
/// Items of `limit_bytes` in all, or one, are under way at a time. The first error ends it; work that
/// has begun is waited for.
pub fn in_order<T: Sync, R: Send, E: Send>(
    items: &[T],
    bytes: impl Fn(&T) -> u64,
    limit_bytes: u64,
    work: impl Fn(&T) -> Result<R, E> + Sync,
    mut take: impl FnMut(&T, R) -> Result<(), E>,
) -> Result<(), E> {
    let (work, mut ahead) = (&work, items.iter());
    queue(|mut queue| {
        for item in items {
            while queue.bytes() < limit_bytes || queue.is_empty() {
                let Some(next) = ahead.next() else { break };
                queue.begin(bytes(next), move || work(next));
            }
            let result = queue.take().expect("because this item's work was begun");
            take(item, result?)?;
        }
        Ok(())
    })
}

/// Work on things that come one after the other, by the threads of rayon's pool; what it gives comes in their order.
pub struct Queue<'a, 'scope, R> {
    scope: &'a Scope<'scope>,
    done: Sender<(usize, thread::Result<R>)>,
    results: Results<thread::Result<R>>,
    /// Of what is under way, the first one's number, and the bytes of each.
    first: usize,
    under_way: VecDeque<u64>,
    bytes: u64,
}

/// Gives `work` a queue, and waits for what is under way there when it returns.
pub fn queue<'scope, R: Send + 'scope, T>(work: impl FnOnce(Queue<'_, 'scope, R>) -> T) -> T {
    // In place: on a thread of the pool, this work would have to wait for other work that it took up.
    rayon::in_place_scope(|scope| {
        let (done, results) = mpsc::channel();
        let results = Results { results, early: HashMap::new() };
        work(Queue { scope, done, results, first: 0, under_way: VecDeque::new(), bytes: 0 })
    })
}

impl<'scope, R: Send + 'scope> Queue<'_, 'scope, R> {
    /// Begins work, which holds so many bytes.
    pub fn begin(&mut self, bytes: u64, work: impl FnOnce() -> R + Send + 'scope) {
        let (number, done) = (self.first + self.under_way.len(), self.done.clone());
        self.under_way.push_back(bytes);
        self.bytes += bytes;
        self.scope.spawn(move |_| {
            let result = catch_unwind(AssertUnwindSafe(work));
            // Nobody listens after an error, and then nobody needs the result.
            let _ = done.send((number, result));
        });
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Bytes of what was begun and not taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the first work gives that was not taken; waits for it. None when nothing is under way.
    pub fn take(&mut self) -> Option<R> {
        self.bytes -= self.under_way.pop_front()?;
        self.first += 1;
        // A panic is passed on: the result would never come.
        Some(self.results.wait_for(self.first - 1).unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// The same, only if it is there by now.
    pub fn ready(&mut self) -> Option<R> {
        if self.results.has(self.first) { self.take() } else { None }
    }
}

/// Results as they come, and those that came before their turn.
struct Results<R> {
    results: Receiver<(usize, R)>,
    early: HashMap<usize, R>,
}

impl<R> Results<R> {
    fn has(&mut self, number: usize) -> bool {
        self.early.extend(self.results.try_iter());
        self.early.contains_key(&number)
    }

    fn wait_for(&mut self, number: usize) -> R {
        loop {
            self.early.extend(self.results.try_iter());
            if let Some(result) = self.early.remove(&number) {
                return result;
            }
            match rayon::yield_now() {
                // A thread of the pool works on something else; it may be the only one.
                Some(rayon::Yield::Executed) => {}
                Some(rayon::Yield::Idle) => thread::sleep(REST),
                None => self.early.extend(self.results.recv()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A file's bytes are written as they are taken: out of order would be another file.
    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let items: Vec<u64> = (0..200).collect();
            let mut taken = Vec::new();
            let work = |item: &u64| {
                thread::sleep(Duration::from_micros(item * 7919 % 300));
                Ok::<_, ()>(item * 2)
            };
            pool.install(|| {
                in_order(
                    &items,
                    |_| 1,
                    8,
                    work,
                    |item, twice| {
                        assert_eq!(item * 2, twice);
                        taken.push(*item);
                        Ok(())
                    },
                )
            })
            .unwrap();
            assert_eq!(taken, items);
        }
    }

    /// Memory is bounded by this: no more than the limit, or one item, is under way.
    #[test]
    fn no_more_than_the_limit_is_under_way() {
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let items = [3u64, 1, 50, 4, 4, 4, 9, 1, 1, 1, 1, 1, 1, 2, 20, 3];
        let work = |item: &u64| {
            most.fetch_max(now.fetch_add(*item, Ordering::SeqCst) + item, Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        in_order(
            &items,
            |item| *item,
            10,
            work,
            |item, ()| {
                now.fetch_sub(*item, Ordering::SeqCst);
                Ok(())
            },
        )
        .unwrap();
        assert!(most.into_inner() < 10 + 50, "an item is begun while less than the limit is under way");
    }

    /// The first error is the one that is told, and what comes behind it is not taken.
    #[test]
    fn an_error_ends_it() {
        let work = |item: &u64| if *item == 3 { Err("three") } else { Ok(()) };
        let mut taken = 0;
        let found = in_order(
            &[1, 2, 3, 4, 5],
            |_| 1,
            2,
            work,
            |_, ()| {
                taken += 1;
                Ok(())
            },
        );
        assert_eq!((found, taken), (Err("three"), 2));
    }

    /// A panic in a worker must not leave its caller waiting.
    #[test]
    fn a_panic_is_passed_on() {
        let work = |item: &u64| if *item == 3 { panic!("three") } else { Ok::<_, ()>(()) };
        let found = catch_unwind(|| in_order(&[1, 2, 3, 4, 5], |_| 1, 2, work, |_, ()| Ok(())));
        assert_eq!(found.unwrap_err().downcast_ref(), Some(&"three"));
    }
}
