//! A newer build at work on the same catalog: it commits what this build does not know.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use compute_gallery::ErrorKind;
use compute_gallery::model::ResourceId;
use compute_gallery::store::*;

use crate::client::new_version;
use crate::executor::at_once;
use crate::log::log_key;
use crate::network::take_persisted;
use crate::world::{CATALOG, World};

/// An event that may be skipped, and stays.
const IGNORABLE: &str = r#"{"event":"galleryLiked","by":"ann","zzz":1.50,"ignorable":true}"#;

/// What a feature must be known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// From here on, who does not know it writes nothing.
    ToWrite,
    /// From here on, who does not know it is refused.
    ToRead,
}

impl Needed {
    fn event(self) -> &'static str {
        match self {
            Self::ToWrite => r#"{"event":"featuresEnabled","features":{"read":{},"write":{"pages":"0.3.0"}}}"#,
            Self::ToRead => r#"{"event":"featuresEnabled","features":{"read":{"pages":"0.3.0"},"write":{}}}"#,
        }
    }
}

/// Commits an event that this build skips, beside its own processes.
pub fn commits(world: &World) {
    if append(world, IGNORABLE).is_some() {
        world.say("-- a newer build commits an event of its own".to_owned());
        world.count("newer build's commit");
    }
}

/// Enables a feature; returns the number of its commit, unless there is no log yet.
pub fn enables_a_feature(world: &World, needed: Needed) -> Option<u64> {
    let number = append(world, needed.event());
    world.say(format!("-- a newer build enables a feature, needed {needed:?}: {number:?}"));
    world.count("newer build's feature");
    number
}

fn append(world: &World, event: &str) -> Option<u64> {
    let store = world.store(CATALOG);
    let log = at_once(store.list_all(Some(&"catalog/log".parse().unwrap()))).unwrap();
    let last = at_once(store.get(&log.last()?.key, None)).unwrap();
    let (line, hash) = std::str::from_utf8(&last).unwrap().trim_end().split_once('\n').unwrap();
    let entry: serde_json::Value = serde_json::from_str(line).unwrap();
    let time: DateTime<Utc> = entry["time"].as_str().unwrap().parse().unwrap();
    let time = (time + TimeDelta::milliseconds(1)).to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let (number, nonce) = (log.len() as u64 + 1, format!("{:032x}", world.below(usize::MAX)));
    let line = format!(
        r#"{{"format":2,"number":{number},"nonce":"{nonce}","previous":"{hash}","time":"{time}","changes":[{{"caller":"newer","events":[{event}]}}]}}"#
    );
    let blob = format!("{line}\n{}\n", blake3::hash(line.as_bytes()).to_hex());
    at_once(store.put(&log_key(number), blob.into(), PutMode::Create)).unwrap();
    // As this build does: what comes before is durable, and so is its own.
    take_persisted(world, CATALOG, &log_key(number));
    Some(number)
}

/// After the feature was enabled this build commits nothing more, refuses every change, and deploys everything if it may read.
pub async fn is_obeyed(world: &World, feature: u64, needed: Needed) {
    let log = world.store(CATALOG).list_all(Some(&"catalog/log".parse().unwrap())).await.unwrap();
    assert_eq!(log.len() as u64, feature, "this build has committed without knowing the feature");
    let before = world.everything().await;
    match needed {
        Needed::ToWrite => serves(world).await,
        Needed::ToRead => {
            let builder = world.mounted(world.store(CATALOG).clone(), |place| world.store(place).clone());
            let refused = world.as_observer(builder, &world.observing_clock()).open().await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        }
    }
    assert!(world.everything().await == before, "this build has written without knowing the feature");
}

/// Goes on as the newer build, which knows the feature: as this one does without the commit that enabled it.
pub async fn takes_over(world: &World, feature: u64) {
    world.store(CATALOG).delete(&log_key(feature)).await.unwrap();
    world.model.lock().unwrap().forget_last(feature);
    world.count("taken over by a newer build");
}

async fn serves(world: &World) {
    let session = world.observer().await.session("older".parse().unwrap());
    let images = world.model.lock().unwrap().images.clone();
    for (id, image) in images.into_iter().filter(|(_, image)| image.soft_deleted.is_none()) {
        for region in image.complete.keys() {
            let (_, bytes) = session.deploy(id.clone(), region).to_writer(Vec::new()).await.unwrap();
            assert!(bytes == image.disk(), "{id} in {region}");
        }
        if let ResourceId::ImageVersion(version) = &id {
            let _ = session.replicate(version).await;
        }
        let refused = session.delete(id.clone()).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    }
    for region in crate::world::REGIONS {
        let _ = session.scrub(region).await;
    }
    let refused = [
        session.publish(new_version(7, "westeurope", "westeurope=1", 0)).await.map(drop),
        session.collect().await.map(drop),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
