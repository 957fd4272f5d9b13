//! What the task does with what it hears, without any server.

use quartet_client::galera::{BegunFrom, MemberState};

use super::life::Said;
use super::*;
use crate::server::sql::Sql;
use crate::server::status::tests::status;
use crate::server::{Ended, Server};

fn at(seqno: u64) -> Position {
    Position { cluster: Uuid::from_u128(7), seqno }
}

struct Fixture {
    manager: Manager,
    told: watch::Sender<Option<Said>>,
    _volume: tempfile::TempDir,
    inputs: watch::Sender<Inputs>,
    _stops: watch::Sender<u32>,
}

impl Fixture {
    fn new() -> Self {
        Self::of(None)
    }

    /// Of a volume whose data was known to be of this history.
    fn of(history: Option<Uuid>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let volume = Arc::new(Volume::open(root.path()).unwrap());
        let identity = volume.identity().unwrap();
        let (tell_inputs, inputs) = watch::channel(Face::example_inputs());
        let (tell_stops, stops) = watch::channel(0);
        let (manager, _) = Manager::new(Parts {
            options: Arc::new(Face::example_options()),
            volume,
            children: Children::default(),
            inputs,
            peers: Peers::new(2).unwrap(),
            identity,
            history,
            commands: mpsc::channel(1).1,
            stops,
        });
        let told = watch::channel(None).0;
        Self { manager, told, _volume: root, inputs: tell_inputs, _stops: tell_stops }
    }

    fn runs(&mut self, start: &step::Start) -> &mut Life {
        let (told, said) = watch::channel(None);
        self.told = told;
        let sql = Sql::new(std::path::Path::new("/nowhere/mysqld.sock"));
        let life = Life::hearing(Server::none(), sql, start, said, watch::channel(None).1);
        self.manager.state = State::Running(Box::new(life));
        self.manager.state.life_mut().unwrap()
    }

    /// Its status, so long ago; asked so often since.
    fn says(&mut self, changed: &[(&str, &str)], ago: Duration, missed: u32) {
        let at = Instant::now().checked_sub(ago).unwrap();
        self.told.send_replace(Some(Said { at, status: status(changed), version: String::new(), missed }));
        self.manager.state.life_mut().unwrap().look(Instant::now());
    }

    fn state(&self) -> MemberState {
        self.manager.make_face(Instant::now()).member.state
    }
}

fn ended() -> Ended {
    Ended { how: "signal: 6".into(), errors: Some("InnoDB: page 7 cannot be read".into()), ahead: false }
}

fn corrupt(corrupt: bool) -> ExamineError {
    RecoveryError::Failed { how: "exit status: 1".into(), errors: "InnoDB".into(), corrupt }.into()
}

fn found(position: Position) -> Found {
    Found::Data { position, doubt: None }
}

#[tokio::test]
async fn nothing_is_begun_while_the_markers_of_the_life_before_are_being_removed() {
    let mut it = Fixture::new();
    it.runs(&step::Start::Bootstrap(at(5))).markers = Markers::Going;
    it.manager.server_ended(&ended());
    it.manager.act();
    assert!(matches!(it.manager.state, State::Settling), "it waits");
    assert_eq!((it.state(), it.manager.phase(Instant::now())), (MemberState::Examining, Phase::Busy));
    let identity = it.manager.identity;
    it.manager.hear(Event::Settled(Ok(identity)));
    assert!(matches!(it.manager.state, State::Unexamined));
    it.manager.act();
    assert!(matches!(it.manager.state, State::Examining), "then it goes on");
    // One that ends before or after that has nothing to wait for.
    for markers in [Markers::There, Markers::Gone] {
        it.runs(&step::Start::Bootstrap(at(5))).markers = markers;
        it.manager.server_ended(&ended());
        assert!(matches!(it.manager.state, State::Unexamined));
    }
}

#[tokio::test]
async fn data_is_given_up_only_when_it_is_called_corrupt_for_long_and_often() {
    let mut it = Fixture::new();
    let long_ago = Instant::now().checked_sub(CORRUPT_FOR).unwrap();
    // Other failures, however many, are none of the data's.
    for _ in 0..10 {
        it.manager.examined(Err(corrupt(false)));
        it.manager.examined(Err(ExamineError::Ended));
        it.runs(&step::Start::Bootstrap(at(5)));
        it.manager.server_ended(&ended());
    }
    assert!(it.manager.corrupt.is_none() && matches!(it.manager.state, State::Unexamined));
    for _ in 0..10 {
        it.manager.examined(Err(corrupt(true)));
        assert!(matches!(it.manager.state, State::Unexamined), "not for long enough");
    }
    assert_eq!(it.state(), MemberState::Failed);
    it.manager.corrupt = Some((long_ago, CORRUPT_TIMES - 2));
    it.manager.examined(Err(corrupt(true)));
    assert!(matches!(it.manager.state, State::Unexamined), "not often enough");
    it.manager.examined(Err(corrupt(false)));
    assert!(matches!(it.manager.state, State::Unexamined), "that one said nothing of the data");
    it.manager.known = Some(at(9));
    it.manager.examined(Err(corrupt(true)));
    assert_eq!(it.manager.phase(Instant::now()), Phase::Unreadable(Some(at(9))));
    // One that goes well, and all that was before does not count.
    let identity = it.manager.identity;
    it.manager.examined(Ok((identity, found(at(9)))));
    assert!(it.manager.corrupt.is_none());
    it.manager.examined(Err(corrupt(true)));
    assert!(matches!(it.manager.state, State::Unexamined));
    assert_eq!(it.manager.known, Some(at(9)));
}

#[tokio::test]
async fn of_which_history_corrupt_data_is_stays_known_over_a_restart_and_how_far_it_had_come_does_not() {
    let mut it = Fixture::of(Some(at(0).cluster));
    it.manager.corrupt = Some((Instant::now().checked_sub(CORRUPT_FOR).unwrap(), CORRUPT_TIMES));
    it.manager.examined(Err(corrupt(true)));
    assert_eq!(it.manager.phase(Instant::now()), Phase::Unreadable(Some(at(u64::MAX))));
}

#[tokio::test]
async fn a_member_that_was_granted_in_vain_fails_for_a_while_and_says_why() {
    let mut it = Fixture::new();
    let identity = it.manager.identity;
    for times in 1..=2 * FAILURES {
        it.runs(&step::Start::Bootstrap(at(5)));
        it.manager.server_ended(&ended());
        it.manager.examined(Ok((identity, found(at(5)))));
        it.manager.act();
        let face = it.manager.make_face(Instant::now());
        let fails = face.member.state == MemberState::Failed;
        assert_eq!(fails, times >= FAILURES, "{:?}", face.member);
        assert_eq!(face.member.position, Some(at(5)), "others are compared with it");
        if fails {
            assert!(face.member.message.unwrap().contains("page 7 cannot be read"));
        }
    }
    it.manager.not_before = Instant::now();
    assert_eq!(it.state(), MemberState::Waiting, "it is tried again");
    // Whoever has been part of a Primary component has not been started in vain.
    it.runs(&step::Start::Bootstrap(at(5)));
    it.says(&[], Duration::ZERO, 0);
    it.manager.server_ended(&ended());
    it.manager.examined(Ok((identity, found(at(9)))));
    assert_eq!((it.state(), it.manager.grants_in_vain), (MemberState::Waiting, 0));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_what_it_said_last_and_is_there_all_the_same() {
    let mut it = Fixture::new();
    it.runs(&step::Start::Bootstrap(at(1))).markers = Markers::Gone;
    it.says(&[], Duration::ZERO, 0);
    assert_eq!(it.state(), MemberState::Synced);
    it.says(&[], life::UNHEARD, MISSED_SOME);
    let face = it.manager.make_face(Instant::now());
    assert_eq!((face.member.state, face.peer.state), (MemberState::NonPrimary, MemberState::NonPrimary));
    assert_eq!((face.member.position, face.peer.position), (None, None));
    assert_eq!((face.member.server, face.route), (None, Route::No));
    assert!(face.member.message.unwrap().contains("has not answered for more than 5 s"));
    assert!(face.peer.server_runs && face.peer.primary, "nobody is begun beside it");
}

const MISSED_SOME: u32 = 4;

#[tokio::test]
async fn a_server_that_hangs_is_killed_and_one_that_stood_still_with_its_manager_is_not() {
    let joins =
        step::Start::Join(decide::Join { addresses: vec![], donors: vec![], from: None, group: None });
    let killed = |synced: bool, missed: u32| {
        let mut it = Fixture::new();
        it.runs(&joins).markers = Markers::Gone;
        let joiner: &[(&str, &str)] = if synced { &[] } else { &[("wsrep_local_state", "1")] };
        it.says(joiner, Duration::ZERO, 0);
        it.says(joiner, HUNG_AFTER, missed);
        it.manager.tend(Instant::now());
        it.manager.state.life().unwrap().told_to_end.is_some()
    };
    assert!(killed(true, 60));
    assert!(!killed(true, MISSED_SOME), "it has hardly been asked");
    assert!(!killed(false, 60), "it still applies what it is given");
}

#[tokio::test]
async fn a_grant_begins_the_history_that_it_says() {
    let mut it = Fixture::new();
    let identity = it.manager.identity;
    for (new_history, expected) in [(false, Leave::GoOn), (true, Leave::Begin(Uuid::from_u128(9)))] {
        it.manager.new_run();
        it.manager.examined(Ok((identity, found(at(5)))));
        let grant = Bootstrap {
            operation: Uuid::from_u128(9),
            incarnation: identity.incarnation,
            run: it.manager.run,
            position: Some(at(5)),
            new_history,
        };
        let (reply, answer) = oneshot::channel();
        it.manager.asked(&grant, reply);
        assert_eq!(answer.await.unwrap(), Ok(()));
        assert_eq!(it.manager.grant_due, Some(expected));
    }
}

/// The others wait with what they do until their settings name it, too.
#[tokio::test]
async fn who_begins_a_history_says_so_until_the_settings_name_it() {
    let mut it = Fixture::new();
    let begun = BegunFrom { history: Uuid::from_u128(8), position: at(5) };
    let told = |it: &mut Fixture| {
        it.manager.humans_word();
        it.manager.make_face(Instant::now()).peer.begun
    };
    it.runs(&step::Start::Begin { history: begun.history, from: begun.position });
    assert_eq!(told(&mut it), Some(begun.history));
    it.inputs.send_modify(|inputs| inputs.settings.begun_from = Some(begun));
    assert_eq!(told(&mut it), Some(begun.history));
    // The resource was made anew: nobody is told of it any more.
    it.inputs.send_modify(|inputs| inputs.settings.begun_from = None);
    assert_eq!(told(&mut it), None);
    it.inputs.send_modify(|inputs| inputs.settings.stepped_over = vec![1]);
    assert_eq!(it.manager.humans_word(), (None, false));
    it.inputs.send_modify(|inputs| inputs.settings.stepped_over = vec![1, 2]);
    assert_eq!(it.manager.humans_word(), (None, true));
}

#[tokio::test]
async fn whoever_is_foreign_or_beyond_is_told_what_to_do() {
    let mut it = Fixture::new();
    let begun = BegunFrom { history: Uuid::from_u128(8), position: at(5) };
    for waiting in [Waiting::Foreign(begun.history), Waiting::Beyond(begun)] {
        it.manager.state = State::Stopped { position: at(9), doubt: None };
        it.manager.waiting = waiting;
        let message = it.manager.make_face(Instant::now()).member.message.unwrap();
        assert!(message.contains(&begun.history.to_string()) && message.contains("nothing of it is needed"));
        assert_eq!(message.contains(&at(5).to_string()), matches!(waiting, Waiting::Beyond(_)));
    }
}
