//! Orphans: in a process of its own, since all children of the process are looked at.

use quartet_galera::server::Children;
use tokio::process::Command;

#[tokio::test]
async fn what_a_child_leaves_behind_is_ended_and_reaped_and_the_child_is_not_taken_for_it() {
    let children = Children::default();
    children.adopt();
    let reaping = tokio::spawn(children.clone().reap());
    // The shell ends at once, and leaves a process that would go on for long.
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & exit 7"]);
    let mut child = children.spawn(&mut command).unwrap();
    let id = child.id();
    assert_eq!(child.wait().await.unwrap().code(), Some(7), "its status was not taken by the reaper");
    children.forget(id);
    assert_eq!(children.orphans().len(), 1);
    children.end_orphans().await;
    assert!(children.orphans().is_empty());
    reaping.abort();
}
