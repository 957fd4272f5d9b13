use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use quartet_raft::{
    AppendOutcome, Body, Configuration, Entry, Index, LogTime, MemberId, Message, Payload, Position,
    SnapshotMeta, Term,
};

use super::*;

fn id(ordinal: u16) -> MemberId {
    MemberId { ordinal, incarnation: u128::from(ordinal) << 70 | 5 }
}

fn position(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

fn configuration() -> Configuration {
    Configuration {
        voters: BTreeSet::from([id(0), id(1), id(2)]),
        outgoing: BTreeSet::from([id(0)]),
        learners: BTreeSet::from([id(3)]),
        addresses: BTreeMap::from([(id(0), "demo-0.demo-members:8110".to_owned()), (id(3), String::new())]),
    }
}

fn entry(index: u64, payload: Payload) -> Entry {
    Entry { term: Term(7), index: Index(index), time: LogTime(index * 100), payload }
}

fn raft(body: Body) -> Frame {
    Frame::Message(PeerMessage::Raft { group: GroupId(6), message: Message { term: Term(9), body } })
}

fn every_frame() -> Vec<Frame> {
    let hello =
        Hello { version: VERSION, from: id(1), cluster: Some(77), groups: 8, to: Some(id(2)), bulk: true };
    let meta = SnapshotMeta {
        last: position(3, 1000),
        time: LogTime(5),
        configuration: configuration(),
        configuration_index: Index(12),
    };
    let entries = vec![
        entry(1, Payload::Empty),
        entry(2, Payload::Configuration(configuration())),
        entry(3, Payload::Command(Bytes::from_static(b"command"))),
    ];
    let forward =
        |request| Frame::Message(PeerMessage::Forward { id: 4, group: GroupId(1), request, timeout_ms: 500 });
    let reply = |result| Frame::Message(PeerMessage::ForwardReply { id: 4, result });
    vec![
        Frame::Hello(hello.clone()),
        Frame::Hello(Hello { cluster: None, to: None, bulk: false, ..hello }),
        Frame::Ping,
        Frame::Found { cluster: 1, members: vec![(id(0), "a:1".to_owned()), (id(1), "b:2".to_owned())] },
        Frame::Founded { refusal: None },
        Frame::Founded { refusal: Some("not empty".to_owned()) },
        raft(Body::PreVote { last: position(1, 2) }),
        raft(Body::PreVoteReply { granted: true }),
        raft(Body::Vote { last: position(1, 2), transfer: true }),
        raft(Body::VoteReply { granted: false }),
        raft(Body::Append { previous: position(2, 3), entries, commit: Index(2), read_round: 8 }),
        raft(Body::AppendReply { outcome: AppendOutcome::Matched(Index(4)), read_round: 8 }),
        raft(Body::AppendReply {
            outcome: AppendOutcome::Rejected { previous: Index(4), hint: position(1, 2) },
            read_round: 9,
        }),
        raft(Body::TimeoutNow),
        forward(Forwarded::Execute { entry: Bytes::from_static(b"do") }),
        forward(Forwarded::Query { query: Bytes::from_static(b"ask") }),
        reply(Ok(Bytes::from_static(b"done"))),
        reply(Err(Failure::Unavailable)),
        reply(Err(Failure::Unknown)),
        reply(Err(Failure::KeyReused)),
        reply(Err(Failure::Full)),
        reply(Err(Failure::NoSpace)),
        reply(Err(Failure::NotMember)),
        Frame::Message(PeerMessage::SnapshotChunk {
            group: GroupId(2),
            term: Term(3),
            meta,
            total_bytes: 100,
            offset: 50,
            data: Bytes::from_static(&[1; 50]),
        }),
        Frame::Message(PeerMessage::SnapshotAck {
            group: GroupId(2),
            term: Term(3),
            index: Index(1000),
            received_bytes: 100,
            installed: true,
        }),
    ]
}

#[test]
fn every_frame_is_read_as_it_was_written_also_from_a_stream_cut_anywhere() {
    let mut stream = BytesMut::new();
    for frame in every_frame() {
        frame.encode(&mut stream).unwrap();
    }
    let stream = stream.freeze();
    for piece in [1, 3, 17, stream.len()] {
        let (mut received, mut read) = (BytesMut::new(), Vec::new());
        for part in stream.chunks(piece) {
            received.extend_from_slice(part);
            while let Some(frame) = Frame::decode(&mut received).unwrap() {
                read.push(frame);
            }
        }
        assert!(received.is_empty());
        assert_eq!(read, every_frame());
    }
}

#[test]
fn a_frame_cut_short_or_lengthened_is_malformed() {
    for frame in every_frame() {
        let mut whole = BytesMut::new();
        frame.encode(&mut whole).unwrap();
        let body = &whole[4..];
        for cut in 0..body.len() {
            assert!(decode_body(&body[..cut]).is_err(), "{frame:?} cut at {cut}");
        }
        assert_eq!(decode_body(&[body, &[0]].concat()), Err(Malformed::Trailing { bytes: 1 }));
    }
}

#[test]
fn random_bytes_and_flipped_bits_never_panic_and_never_ask_for_much_memory() {
    let mut random = 1_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let frames = every_frame();
    for round in 0..200_000 {
        let body: Vec<u8> = if round % 2 == 0 {
            (0..next() % 64).map(|_| u8::try_from(next() % 256).unwrap()).collect()
        } else {
            let mut whole = BytesMut::new();
            frames[usize::try_from(next()).unwrap() % frames.len()].encode(&mut whole).unwrap();
            let mut body = whole[4..].to_vec();
            let at = usize::try_from(next()).unwrap() % body.len();
            body[at] ^= 1 << (next() % 8);
            body
        };
        // What is read back must be what would be written: no two forms of one thing.
        if let Ok(frame) = decode_body(&body) {
            let mut again = BytesMut::new();
            frame.encode(&mut again).unwrap();
            assert_eq!(decode_body(&again[4..]).unwrap(), frame);
        }
    }
}

#[test]
fn a_frame_larger_than_allowed_is_refused_on_both_sides() {
    let data = Bytes::from(vec![0; FRAME_BYTES_MAX]);
    let frame = Frame::Message(PeerMessage::ForwardReply { id: 1, result: Ok(data) });
    let mut out = BytesMut::new();
    assert!(matches!(frame.encode(&mut out), Err(Malformed::TooLarge { .. })));
    assert!(out.is_empty());
    out.put_u32_le(u32::MAX);
    assert!(matches!(Frame::decode(&mut out), Err(Malformed::TooLarge { .. })));
}

fn decode_body(body: &[u8]) -> Result<Frame, Malformed> {
    let mut received = BytesMut::new();
    received.put_u32_le(u32::try_from(body.len()).unwrap());
    received.extend_from_slice(body);
    Frame::decode(&mut received).map(|frame| frame.expect("the whole frame is there"))
}

#[test]
fn a_frame_that_is_kept_does_not_keep_what_was_received_around_it() {
    const BUFFER: usize = 64 << 10;
    let mut received = BytesMut::with_capacity(BUFFER);
    for frame in every_frame() {
        frame.encode(&mut received).unwrap();
        let kept = Frame::decode(&mut received).unwrap().unwrap();
        assert!(received.is_empty() && received.try_reclaim(BUFFER), "{kept:?} keeps the buffer");
    }
}
