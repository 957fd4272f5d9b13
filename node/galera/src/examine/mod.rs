//! What the volume holds, and what that is worth, before any server is started with it.

pub mod recovered;
pub mod saved;

use std::io;
use std::path::Path;

use quartet_client::galera::{Position, Sst};

use crate::server::{Recovery, RecoveryError};
use crate::volume::{Joining, Volume, VolumeError};
use recovered::NoHistory;
use saved::Saved;

/// What an examination has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Empty,
    /// `doubt`: what else was found, and not believed.
    Data {
        position: Position,
        doubt: Option<String>,
    },
    /// The data counts for nothing; why, for a human. `position`: of data that is whole, and that only a human's word can
    /// make count.
    Unusable {
        why: String,
        position: Option<Position>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    #[error("the examination was cut off")]
    Ended,
}

/// What can be seen without starting anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, whatever the others are")]
struct Signs {
    founding: bool,
    joining: Option<Joining>,
    /// The folder that goes before a join replaces anything is still there.
    witness: bool,
    /// The host has not been off since the server was started to join.
    same_boot: bool,
    /// The server's own marker of a transfer. Its scripts remove it when they fail, too.
    transfer_marker: bool,
    /// mariabackup's script makes this folder before it removes anything, and removes it after all has arrived.
    transfer_folder: bool,
    system_tablespace: bool,
    saved: Option<Saved>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Recover,
    /// The same, and what comes of it counts for nothing.
    GivenUp,
    Unusable(&'static str),
}

const INTERRUPTED: &str =
    "a transfer of data was interrupted: what it has left is neither the old nor the new state";
const GIVEN_UP: &str =
    "Galera has marked this data: it is inconsistent with the others', or could not be brought up to date";
const NO_TABLESPACE: &str = "the data directory holds files, but not those of the storage engine";

fn look(signs: &Signs) -> Look {
    let replaced = match signs.joining {
        Some(Joining { from: None, .. }) => true,
        // Whatever was copied is trusted only once it is known to be on the disk: then there is no such record any more.
        // A host that goes off may forget the removal of a folder, and with it all later ones: mariabackup's copies are
        // put in place after it. rsync writes into the files that are there, which may have come to the disk before.
        Some(Joining { sst, .. }) => {
            signs.transfer_folder || !signs.witness || (sst == Sst::Rsync && !signs.same_boot)
        }
        None => signs.transfer_marker || signs.transfer_folder,
    };
    if replaced {
        return Look::Unusable(INTERRUPTED);
    }
    // A storage engine that is asked for its position there makes a new database.
    if !signs.system_tablespace && !signs.founding {
        return Look::Unusable(NO_TABLESPACE);
    }
    let given_up = signs.saved.and_then(|saved| saved.cluster).is_some_and(|cluster| cluster.is_nil());
    if given_up && !signs.founding { Look::GivenUp } else { Look::Recover }
}

/// What Galera's file claims beyond what the storage engine knows.
fn doubt(saved: Option<Saved>, position: Position) -> Option<String> {
    let saved = saved?;
    let foreign = saved.cluster.filter(|cluster| *cluster != position.cluster);
    if let Some(cluster) = foreign {
        return Some(format!("grastate.dat names another history, {cluster}: not believed"));
    }
    let ahead = saved.seqno.filter(|seqno| u64::try_from(*seqno).is_ok_and(|seqno| seqno > position.seqno));
    ahead.map(|seqno| {
        format!("grastate.dat claims seqno {seqno}, the data ends at {}: not believed", position.seqno)
    })
}

/// How far the data has come, by what the storage engine says of it.
type Recovered = Result<Result<Position, NoHistory>, RecoveryError>;

/// Takes as long as the storage engine needs to recover.
pub async fn examine(volume: &Volume, recovery: &Recovery) -> Result<Found, ExamineError> {
    if volume.is_empty()? {
        // An earlier founding or joining has not left a trace.
        volume.end_founding()?;
        volume.end_joining()?;
        return Ok(Found::Empty);
    }
    let signs = signs(volume)?;
    match look(&signs) {
        Look::Recover => judge(volume, &signs, recovery.run().await),
        Look::GivenUp => Ok(given_up(recovery.run().await)),
        Look::Unusable(why) => Ok(Found::Unusable { why: why.into(), position: None }),
    }
}

/// A transaction failed here and not on the others, or the other way round; or what was missed did not arrive, of which
/// Galera leaves the same mark. The storage engine knows nothing of that: what it says makes the data count only for a
/// human, and where it fails nothing of worth is lost.
fn given_up(recovered: Recovered) -> Found {
    let position = recovered.ok().and_then(Result::ok);
    Found::Unusable { why: GIVEN_UP.into(), position }
}

fn judge(volume: &Volume, signs: &Signs, recovered: Recovered) -> Result<Found, ExamineError> {
    match recovered {
        Ok(Ok(position)) => {
            volume.end_founding()?;
            Ok(Found::Data { position, doubt: doubt(signs.saved, position) })
        }
        // Nobody was ever answered from it: clients are sent to a founder only once its marker is gone. If others have
        // joined it meanwhile, they hold all that it does. So nothing is lost, whatever the recovery failed of.
        Ok(Err(NoHistory(_))) | Err(RecoveryError::Failed { .. }) if signs.founding => {
            tracing::info!("the founding was cut off before it had formed a cluster: it begins again");
            volume.clear()?;
            volume.end_founding()?;
            Ok(Found::Empty)
        }
        Ok(Err(none)) => Ok(Found::Unusable { why: none.to_string(), position: None }),
        Err(error) => Err(error.into()),
    }
}

fn signs(volume: &Volume) -> Result<Signs, VolumeError> {
    let (data, joining) = (volume.data(), volume.joining()?);
    Ok(Signs {
        founding: volume.is_founding(),
        joining,
        witness: joining.is_some_and(|joining| volume.has_witness(&joining)),
        same_boot: joining.is_some_and(|joining| joining.is_of_this_boot()),
        transfer_marker: data.join("sst_in_progress").exists(),
        transfer_folder: data.join(TRANSFER_FOLDER).exists(),
        system_tablespace: data.join("ibdata1").exists(),
        saved: read_saved(&data.join("grastate.dat"))?,
    })
}

/// Where mariabackup's script collects what arrives.
pub const TRANSFER_FOLDER: &str = ".sst";

fn read_saved(path: &Path) -> Result<Option<Saved>, VolumeError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(saved::read(&String::from_utf8_lossy(&text)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(VolumeError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn position(seqno: u64) -> Position {
        Position { cluster: Uuid::from_u128(7), seqno }
    }

    fn sound() -> Signs {
        Signs { system_tablespace: true, ..Signs::default() }
    }

    /// It was started to join with what it has, and nothing has happened since.
    fn joining(sst: Sst, from: Option<Position>) -> Signs {
        let joining = Some(Joining { sst, from, witness: None, boot: None });
        Signs { joining, witness: true, same_boot: true, ..sound() }
    }

    #[test]
    fn sound_data_is_recovered() {
        assert_eq!(look(&sound()), Look::Recover);
    }

    #[test]
    fn data_that_may_have_been_replaced_in_part_is_unusable() {
        let old = Some(position(3));
        for signs in [
            Signs { transfer_marker: true, ..sound() },
            Signs { transfer_folder: true, ..sound() },
            joining(Sst::Mariabackup, None),
            joining(Sst::Rsync, None),
            Signs { witness: false, ..joining(Sst::Mariabackup, old) },
            Signs { witness: false, ..joining(Sst::Rsync, old) },
            Signs { transfer_folder: true, ..joining(Sst::Mariabackup, old) },
            // What rsync has written into a file may outlive the loss of power that brings the folder back.
            Signs { same_boot: false, ..joining(Sst::Rsync, old) },
        ] {
            assert_eq!(look(&signs), Look::Unusable(INTERRUPTED), "{signs:?}");
        }
    }

    #[test]
    fn a_join_that_was_cut_off_before_anything_was_replaced_leaves_the_data_as_it_was() {
        // The server's marker is there from the start of its script, whether anything is transferred or not.
        for sst in [Sst::Mariabackup, Sst::Rsync] {
            let cut = Signs { transfer_marker: true, ..joining(sst, Some(position(3))) };
            assert_eq!(look(&cut), Look::Recover);
        }
        let dark = Signs { same_boot: false, ..joining(Sst::Mariabackup, Some(position(3))) };
        assert_eq!(look(&dark), Look::Recover, "what was copied would not be in place");
    }

    /// One thing that a transfer does to the data directory.
    type Act = fn(&Path) -> io::Result<()>;

    fn witness_of(data: &Path) -> std::path::PathBuf {
        let names = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
        let is_witness = |path: &std::path::PathBuf| path.to_string_lossy().contains("~joining-");
        names.into_iter().find(is_witness).unwrap()
    }

    /// As the scripts of MariaDB 10.11.19 do it, with rsync 3.5.
    #[test]
    fn a_join_that_dies_anywhere_leaves_the_whole_data_or_none_that_counts() {
        let mariabackup: &[Act] = &[
            |data| std::fs::write(data.join("sst_in_progress"), ""),
            |data| std::fs::create_dir(data.join(TRANSFER_FOLDER)),
            |data| std::fs::write(data.join(TRANSFER_FOLDER).join("ibdata1"), "new"),
            |data| std::fs::remove_file(data.join("ibdata1")),
            |data| std::fs::remove_dir(witness_of(data)),
            |data| std::fs::rename(data.join(TRANSFER_FOLDER).join("ibdata1"), data.join("ibdata1")),
            |data| std::fs::remove_dir(data.join(TRANSFER_FOLDER)),
            |data| std::fs::remove_file(data.join("sst_in_progress")),
        ];
        let rsync: &[Act] = &[
            |data| std::fs::write(data.join("sst_in_progress"), ""),
            |data| std::fs::remove_dir(witness_of(data)),
            |data| std::fs::write(data.join("ibdata1"), "neold"),
            |data| std::fs::write(data.join("ibdata1"), "new"),
            |data| std::fs::remove_file(data.join("sst_in_progress")),
        ];
        // Only what was missed is applied, by the storage engine: what it notes is whole at each moment.
        let ist: &[Act] = &[
            |data| std::fs::write(data.join("sst_in_progress"), ""),
            |data| std::fs::remove_file(data.join("sst_in_progress")),
            |data| std::fs::write(data.join("ibdata1"), "old and more"),
        ];
        for (sst, acts, replaces) in [
            (Sst::Mariabackup, mariabackup, true),
            (Sst::Rsync, rsync, true),
            (Sst::Mariabackup, ist, false),
            (Sst::Rsync, ist, false),
        ] {
            let root = tempfile::tempdir().unwrap();
            let volume = Volume::open(root.path()).unwrap();
            volume.write_data("ibdata1", "old").unwrap();
            volume.begin_joining(sst, Some(position(3))).unwrap();
            let mut unusable = 0;
            for act in acts {
                act(volume.data()).unwrap();
                let counts = look(&signs(&volume).unwrap()) == Look::Recover;
                let held = std::fs::read_to_string(volume.data().join("ibdata1")).unwrap_or_default();
                assert!(!counts || held.starts_with("old"), "{sst:?}: {held}");
                unusable += usize::from(!counts);
            }
            assert_eq!(unusable > 0, replaces, "{sst:?}");
            // All of it is there, and may not be on the disk yet.
            assert_eq!(look(&signs(&volume).unwrap()) == Look::Recover, !replaces, "{sst:?}");
            volume.end_joining().unwrap();
            assert_eq!(look(&signs(&volume).unwrap()), Look::Recover);
        }
    }

    #[test]
    fn what_galera_gave_up_is_unusable_and_what_it_claims_is_not_believed() {
        let saved = |cluster: u128, seqno| {
            Some(Saved {
                cluster: Some(Uuid::from_u128(cluster)),
                seqno: Some(seqno),
                safe_to_bootstrap: true,
            })
        };
        let marked = Signs { saved: saved(0, -1), ..sound() };
        assert_eq!(look(&marked), Look::GivenUp);
        assert_eq!(look(&Signs { system_tablespace: false, ..marked }), Look::Unusable(NO_TABLESPACE));
        // Half of a transfer is no human's to begin from, whatever else it is.
        let torn = Signs { witness: false, saved: saved(0, -1), ..joining(Sst::Rsync, Some(position(3))) };
        assert_eq!(look(&torn), Look::Unusable(INTERRUPTED));
        assert_eq!(look(&Signs { saved: saved(8, 99), ..sound() }), Look::Recover);
        assert!(doubt(saved(8, -1), position(5)).unwrap().contains("another history"));
        assert!(doubt(saved(7, 9), position(5)).unwrap().contains("claims seqno 9"));
        for sound in [None, saved(7, 5), saved(7, -1)] {
            assert_eq!(doubt(sound, position(5)), None);
        }
    }

    #[test]
    fn of_data_that_galera_gave_up_the_position_is_told_and_a_failed_recovery_does_not_keep_it() {
        let told = |recovered| match given_up(recovered) {
            Found::Unusable { why, position } if why == GIVEN_UP => position,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(Ok(Ok(position(5)))), Some(position(5)));
        assert_eq!(told(Ok(Err(NoHistory("none".into())))), None);
        let failed = RecoveryError::Failed { how: String::new(), errors: String::new(), corrupt: true };
        assert_eq!(told(Err(failed)), None);
    }

    #[test]
    fn a_founding_whose_data_cannot_be_recovered_begins_again_and_nothing_else_does() {
        let failed =
            || Err(RecoveryError::Failed { how: String::new(), errors: String::new(), corrupt: true });
        let root = tempfile::tempdir().unwrap();
        let volume = Volume::open(root.path()).unwrap();
        volume.begin_founding().unwrap();
        volume.write_data("ibdata1", "half").unwrap();
        let incarnation = volume.identity().unwrap().incarnation;
        let founding = Signs { founding: true, ..sound() };
        let cannot_run = Err(RecoveryError::Run(io::Error::other("no such program")));
        assert!(judge(&volume, &founding, cannot_run).is_err());
        assert!(judge(&volume, &sound(), failed()).is_err());
        assert!(!volume.is_empty().unwrap() && volume.is_founding(), "nothing was removed");
        assert_eq!(judge(&volume, &founding, failed()).unwrap(), Found::Empty);
        assert!(volume.is_empty().unwrap() && !volume.is_founding());
        assert_eq!(volume.identity().unwrap().incarnation, incarnation, "the same one founds again");
    }

    #[test]
    fn files_without_a_storage_engine_are_unusable_but_for_a_founding() {
        assert_eq!(look(&Signs::default()), Look::Unusable(NO_TABLESPACE));
        assert_eq!(look(&Signs { founding: true, ..Signs::default() }), Look::Recover);
    }
}
