//! Takes typed values out of layers, and notes each with its origin.

use std::time::Duration;

use super::keys::{self, Kind, Places};
use super::layers::{Layer, Setting};
use super::model::{EffectiveSetting, Origin};
use super::{rates, values};
use crate::flow::bandwidth::Schedule;

/// Reads settings of one flow (or of the process) one by one.
///
/// Values have been checked line by line before; one that is not valid has its error already, and
/// reads as the default here.
#[derive(Default)]
pub(super) struct Reader {
    effective: Vec<EffectiveSetting>,
}

impl Reader {
    pub(super) fn finish(self) -> Vec<EffectiveSetting> {
        self.effective
    }

    /// The value of a key of the table, trimmed; its default if the layer does not have it.
    pub(super) fn text(&mut self, layer: &Layer, place: Places, name: &'static str) -> String {
        self.text_or(layer, place, name, None)
    }

    /// The same, with a default that depends on the flow.
    pub(super) fn text_or(
        &mut self,
        layer: &Layer,
        place: Places,
        name: &'static str,
        default: Option<&str>,
    ) -> String {
        let key = keys::find(name, place).expect("every key that is read is in the table");
        let names = std::iter::once(&key.name).chain(key.aliases);
        let set =
            names.filter_map(|name| layer.get(*name)).find(|setting| valid(key.kind, setting));
        let (value, origin) = match set {
            Some(Setting { value, line, written }) => {
                (value.trim(), Origin::Line { line: *line, key: written.clone() })
            }
            None => (default.unwrap_or(key.default), Origin::Default),
        };
        let shown = match place {
            Places::CONSUMER if name == "bootstrap.servers" => format!("source.cluster.{name}"),
            Places::CLUSTER if name == "bootstrap.servers" => format!("target.cluster.{name}"),
            Places::CONSUMER => format!("consumer.{name}"),
            Places::PRODUCER => format!("producer.{name}"),
            _ => name.to_owned(),
        };
        self.note(&shown, value, origin);
        value.to_owned()
    }

    /// Notes a setting that was read otherwise. What is unset and has no default is not worth a
    /// line.
    pub(super) fn note(&mut self, key: &str, value: &str, origin: Origin) {
        if value.is_empty() && origin == Origin::Default {
            return;
        }
        let setting = EffectiveSetting { key: key.to_owned(), value: value.to_owned(), origin };
        self.effective.push(setting);
    }

    pub(super) fn boolean(&mut self, layer: &Layer, name: &'static str) -> bool {
        values::boolean(&self.text(layer, Places::FLOW, name)).unwrap_or(false)
    }

    /// A whole number; its key's bounds have to fit the type.
    pub(super) fn number<N: TryFrom<i64>>(
        &mut self,
        layer: &Layer,
        place: Places,
        name: &'static str,
    ) -> Option<N> {
        N::try_from(values::number(&self.text(layer, place, name))?).ok()
    }

    pub(super) fn millis(&mut self, layer: &Layer, place: Places, name: &'static str) -> Duration {
        Duration::from_millis(self.number(layer, place, name).unwrap_or(0))
    }

    pub(super) fn seconds(&mut self, layer: &Layer, name: &'static str) -> Duration {
        Duration::from_secs(self.number(layer, Places::FLOW, name).unwrap_or(0))
    }

    /// Rates by the time of the day; none if they are without limit.
    pub(super) fn rates(
        &mut self,
        layer: &Layer,
        place: Places,
        name: &'static str,
    ) -> Option<Schedule> {
        let schedule = rates::schedule(&self.text(layer, place, name)).ok()?;
        (!schedule.is_unlimited()).then_some(schedule)
    }

    /// One of a key's words, mapped; the first word if it is none of them.
    pub(super) fn choice<T: Copy>(
        &mut self,
        layer: &Layer,
        place: Places,
        name: &'static str,
        words: [(&str, T); 2],
    ) -> T {
        let text = self.text(layer, place, name);
        let [first, second] = words;
        if text.eq_ignore_ascii_case(second.0) { second.1 } else { first.1 }
    }
}

fn valid(kind: Kind, setting: &Setting) -> bool {
    values::problem(kind, &setting.value).is_none()
}
