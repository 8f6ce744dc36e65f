//! Turns of what runs on one executor.

use std::future::poll_fn;
use std::task::Poll;

/// Lets everything else that is ready to run have a turn first.
pub(crate) async fn others_go_first() {
    let mut is_later = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_later, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
