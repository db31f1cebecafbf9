//! Who does a piece of work that several threads could share?
//!
//! The matrix library keeps threads that wait in a loop between two products, so that a product starts at once. Work
//! between the products goes to the same threads: others would have to wait for a core until these give up waiting.

use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::utils::barrier_pool;

/// Below this many multiplications, handing work over costs more than it saves.
const PARALLEL_WORK: usize = 1 << 18;

/// The results of `work` on 0, 1, ... `items`, which takes about so many `multiplications` altogether.
pub(crate) fn share<T: Send + Sync>(
    items: usize,
    multiplications: usize,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    if items < 2 || multiplications < PARALLEL_WORK || rayon::current_num_threads() < 2 {
        return (0..items).map(work).collect();
    }
    let results: Vec<OnceLock<T>> = (0..items).map(|_| OnceLock::new()).collect();
    barrier_pool().execute_chunked(items, |range| {
        for item in range {
            let _ = results[item].set(work(item)); // each item is handed out once
        }
    });
    results.into_iter().map(|result| result.into_inner().expect("every item was handed out")).collect()
}

/// Lets `work` fill the rows of `out` (rows, width), of which the last may be short.
pub(crate) fn share_rows(
    out: &mut [f32],
    width: usize,
    multiplications: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    // Nobody else ever asks for a row's lock; it is how threads that are not scoped get at different rows.
    let rows: Vec<Mutex<&mut [f32]>> = out.chunks_mut(width).map(Mutex::new).collect();
    share(rows.len(), multiplications, |row| {
        work(row, &mut rows[row].lock().unwrap_or_else(PoisonError::into_inner));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_results_keep_their_order() {
        for multiplications in [0, 1 << 30] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            let squares = pool.install(|| share(100, multiplications, |item| item * item));
            assert_eq!(squares, (0..100).map(|item| item * item).collect::<Vec<_>>());
            let mut rows = [0.0; 12];
            pool.install(|| share_rows(&mut rows, 3, multiplications, |row, out| out.fill(row as f32)));
            assert_eq!(rows, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
        }
    }
}
