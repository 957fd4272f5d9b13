//! Events for humans (`kubectl describe`), each told once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;

use super::{FIELD_MANAGER, request};

/// The same news of the same object is not told again within it.
const QUIET: Duration = Duration::from_hours(1);
const REMEMBERED: usize = 2048;
/// The API server refuses longer notes.
const NOTE_LENGTH: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Normal,
    Warning,
}

pub struct Events {
    client: Client,
    reporter: String,
    told: Mutex<Told>,
}

impl Events {
    pub fn new(client: Client, reporter: impl Into<String>) -> Self {
        Self { client, reporter: reporter.into(), told: Mutex::default() }
    }

    /// Best effort: an event that cannot be written is logged and forgotten.
    pub async fn tell(&self, about: &ObjectReference, tone: Tone, action: &str, reason: &str, note: &str) {
        let key = Key { uid: about.uid.clone().unwrap_or_default(), text: format!("{reason}\n{note}") };
        if !self.told.lock().unwrap_or_else(PoisonError::into_inner).is_news(key, Instant::now()) {
            return;
        }
        let namespace = about.namespace.as_deref().unwrap_or("default");
        let event = self.event(about, tone, action, reason, note, Timestamp::now());
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        if let Err(failure) = request("write an event", api.create(&params, &event)).await {
            tracing::warn!(error = failure.chain(), reason, "event not written");
        }
    }

    fn event(
        &self,
        about: &ObjectReference,
        tone: Tone,
        action: &str,
        reason: &str,
        note: &str,
        now: Timestamp,
    ) -> Event {
        let name = about.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some(action.to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(shorten(note)),
            reason: Some(reason.to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some("quartet.dev/operator".to_owned()),
            reporting_instance: Some(self.reporter.clone()),
            type_: Some(match tone {
                Tone::Normal => "Normal".to_owned(),
                Tone::Warning => "Warning".to_owned(),
            }),
            ..Event::default()
        }
    }
}

fn shorten(note: &str) -> String {
    note.char_indices().take_while(|(at, c)| at + c.len_utf8() <= NOTE_LENGTH).map(|(_, c)| c).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    text: String,
}

/// What was told lately; bounded.
#[derive(Debug, Default)]
struct Told {
    at: HashMap<Key, Instant>,
}

impl Told {
    fn is_news(&mut self, key: Key, now: Instant) -> bool {
        if self.at.get(&key).is_some_and(|at| now.saturating_duration_since(*at) < QUIET) {
            return false;
        }
        if self.at.len() >= REMEMBERED {
            self.at.retain(|_, at| now.saturating_duration_since(*at) < QUIET);
        }
        if self.at.len() >= REMEMBERED {
            // Rather tell something twice than grow.
            self.at.clear();
        }
        self.at.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uid: &str, text: &str) -> Key {
        Key { uid: uid.into(), text: text.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_news_is_told_once_an_hour() {
        let start = Instant::now();
        let mut told = Told::default();
        assert!(told.is_news(key("a", "RollingOut: demo-1"), start));
        assert!(!told.is_news(key("a", "RollingOut: demo-1"), start + Duration::from_mins(59)));
        assert!(told.is_news(key("a", "RollingOut: demo-2"), start));
        assert!(told.is_news(key("b", "RollingOut: demo-1"), start));
        assert!(told.is_news(key("a", "RollingOut: demo-1"), start + QUIET));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_what_was_told_is_bounded() {
        let now = Instant::now();
        let mut told = Told::default();
        for number in 0..REMEMBERED * 3 {
            assert!(told.is_news(key("a", &number.to_string()), now));
        }
        assert!(told.at.len() <= REMEMBERED);
    }

    #[test]
    fn long_notes_are_cut_at_a_character() {
        assert_eq!(shorten("fine"), "fine");
        let long = "ü".repeat(600);
        assert_eq!(shorten(&long).len(), NOTE_LENGTH);
    }
}
