//! A store call at which a process dies.

use std::future::pending;

use compute_gallery::testkit::Reaction;
use futures::channel::mpsc::UnboundedSender;

/// Lets a call pass, unless the process `dies` before it: then it tells so, and never goes on.
pub(crate) async fn reaction(dies: bool, killed: UnboundedSender<()>) -> Reaction {
    if dies {
        killed.unbounded_send(()).unwrap();
        pending::<()>().await;
    }
    Reaction::Pass
}
