//! A disk that neither works nor fails.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use super::*;
use crate::disk::DiskFile;

/// While it is shut, a sync waits.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        drop(self.opened.wait_while(self.shut.lock().unwrap(), |shut| *shut).unwrap());
    }
}

/// Opened at the end, whatever that is: a member waits for its disk before it ends.
struct Gates(Vec<Arc<Gate>>);

impl Drop for Gates {
    fn drop(&mut self) {
        self.0.iter().for_each(|gate| gate.set(false));
    }
}

struct Hanging<T>(T, Arc<Gate>);

impl Disk for Hanging<RealDisk> {
    type File = Hanging<<RealDisk as Disk>::File>;

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        Ok(Hanging(self.0.open(name)?, Arc::clone(&self.1)))
    }

    fn create(&self, name: &str, size_bytes: u64) -> io::Result<Self::File> {
        Ok(Hanging(self.0.create(name, size_bytes)?, Arc::clone(&self.1)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync_names()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }

    fn total_bytes(&self) -> io::Result<u64> {
        self.0.total_bytes()
    }
}

impl<F: DiskFile> DiskFile for Hanging<F> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, into)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_leads_no_more_refuses_at_once_and_comes_back_with_its_disk() {
    let data = TempDir::new().unwrap();
    let mut members = Vec::new();
    let mut gates = Gates(Vec::new());
    for mut settings in cluster_settings(3, data.path()) {
        settings.engine.disk_patience = Duration::from_secs(3);
        let gate = Arc::new(Gate::default());
        let disk = Hanging(RealDisk::open(&settings.data).unwrap(), Arc::clone(&gate));
        let found = open(&settings, disk).unwrap();
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let (handle, running) = launch(settings.clone(), found, listener, |_| Words::default()).unwrap();
        members.push(Member { settings, handle, running });
        gates.0.push(gate);
    }
    for member in &members {
        serves(member).await;
    }
    let hung = usize::from(leader(&members, 0).await.settings.ordinal);
    gates.0[hung].set(true);
    // One batch after the other, more than may wait for a disk: it reads nothing more, until it knows that it hangs.
    for _ in 0..2 * driver::QUEUED_MAX {
        match timeout(Duration::from_millis(2), members[hung].says(0, "in doubt")).await {
            Ok(Ok(_)) => panic!("a leader applies nothing that its own disk does not hold"),
            Ok(Err(_)) => break,
            Err(_) => {}
        }
    }
    eventually("it says what is wrong, and leads nothing", || async {
        let report = members[hung].handle.report().await;
        let leads = report.groups.iter().any(|group| group.role == Role::Leader);
        (report.trouble?.contains("disk") && !leads).then_some(())
    })
    .await;
    let refused = timeout(SHORT / 2, members[hung].says(0, "refused")).await.expect("it answers at once");
    assert_eq!(refused, Err(Failure::Unavailable));
    let other = &members[(hung + 1) % 3];
    eventually("another leads", || async { other.says(0, "meanwhile").await.ok() }).await;

    gates.0[hung].set(false);
    serves(&members[hung]).await;
    assert_eq!(members[hung].handle.report().await.trouble, None);
    let words = members[hung].words(0).await.unwrap();
    assert!(words.iter().any(|word| word == "meanwhile"), "{words:?}");
    assert!(!words.iter().any(|word| word == "refused"), "{words:?}");
}
