//! The keyring of an encrypted catalog: finds, makes and wraps its keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key_blob::{KeyBlob, context};
use crate::content::cipher::DataKey;
use crate::content::names::CatalogId;
use crate::content::naming::Naming;
use crate::error::{Error, ErrorKind, Result};
use crate::host::in_flight::together;
use crate::host::sync::Mutex;
use crate::host::{Entropy, KeyProvider, Secret, Workers, draw, key_missing};
use crate::model::Region;
use crate::store::{BlobStore, BlobStoreExt, PutMode, StoreErrorKind};

/// The number of the secret of names.
const NAMES: u32 = 0;

/// Races in a row that making a key may lose.
const ATTEMPTS: usize = 32;

/// A data key of a catalog that could not be wrapped with the host's current key: what is encrypted with it can be read as long as the host
/// keeps the keys that wrap it.
///
/// ```
/// # #[cfg(feature = "testkit")] futures::executor::block_on(async {
/// # use compute_gallery::testkit::Sandbox;
/// # let session = Sandbox::new().await?.session().clone();
/// let rotated = session.rotate_keys().await?;
/// let needed: Vec<&String> = rotated.unrotated_keys.iter().flat_map(|key| &key.key_ids).collect();
/// assert!(needed.is_empty(), "not to be destroyed");
/// # Ok::<(), compute_gallery::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnrotatedKey {
    /// The number of the data key, as in the names of the blobs under `catalog/keys/`.
    pub number: u32,
    /// The region whose content it encrypts; `None` if no blob of it can be read.
    pub region: Option<Region>,
    /// The ids of the host's keys that wrap it.
    pub key_ids: Vec<String>,
    /// `KeyMissing`: the host does not have those, or another one under their id. `Corrupt`: its blobs are damaged.
    pub reason: ErrorKind,
}

/// The keys of an encrypted catalog.
#[derive(Debug)]
pub(crate) struct Keyring {
    /// Of the catalog.
    store: Arc<dyn BlobStore>,
    catalog: CatalogId,
    provider: Arc<dyn KeyProvider>,
    entropy: Arc<dyn Entropy>,
    workers: Workers,
    naming: Naming,
    may_write: bool,
    /// All wraps of each key that are not damaged.
    known: Mutex<BTreeMap<u32, Vec<KeyBlob>>>,
    unwrapped: Mutex<BTreeMap<u32, Arc<DataKey>>>,
}

impl Keyring {
    /// Opens the keyring of a catalog. `is_new` says that nothing was committed yet: then the secret of names may be missing, and is made.
    pub(crate) async fn open(
        store: Arc<dyn BlobStore>,
        catalog: CatalogId,
        provider: Arc<dyn KeyProvider>,
        entropy: Arc<dyn Entropy>,
        workers: Workers,
        (is_new, may_write): (bool, bool),
    ) -> Result<Self> {
        let (known, unwrapped, naming) = (Mutex::default(), Mutex::default(), Naming::Plain);
        let mut ring = Self { store, catalog, provider, entropy, workers, naming, may_write, known, unwrapped };
        ring.list().await?;
        if ring.wraps(NAMES).is_empty() {
            if !is_new || !may_write {
                let what = "the keys of the catalog are missing: restore the blobs under `catalog/keys/`";
                return Err(Error::corrupt("catalog keys", what));
            }
            ring.make(NAMES, "").await?;
        }
        let names = ring.unwrap(NAMES).await?;
        ring.naming = Naming::Keyed(blake3::derive_key("compute-gallery 2026 names of content v1", &names.0));
        Ok(ring)
    }

    fn wraps(&self, number: u32) -> Vec<KeyBlob> {
        self.known.lock().get(&number).cloned().unwrap_or_default()
    }

    /// Reads all wraps.
    async fn list(&self) -> Result<()> {
        let failed = |error: crate::store::StoreError| error.at("catalog");
        let listed = self.store.list_all(Some(&"keys".parse()?)).await.map_err(failed)?;
        let reading = listed.iter().map(|blob| async {
            let bytes = self.store.get(&blob.key, None).await.map_err(failed)?;
            KeyBlob::parse(self.catalog, &blob.key, &bytes)
        });
        let mut known = BTreeMap::<u32, Vec<KeyBlob>>::new();
        for (at, read) in listed.iter().zip(together(reading.collect()).await) {
            match read {
                Ok(blob) => known.entry(blob.number).or_default().push(blob),
                // Another wrap may be good, and its number is taken.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    KeyBlob::number_of(&at.key).map(|number| known.entry(number).or_default());
                }
                Err(error) => return Err(error),
            }
        }
        *self.known.lock() = known;
        Ok(())
    }

    /// Wraps a secret, and makes sure that it can be unwrapped.
    async fn wrap(&self, number: u32, scope: &str, secret: &Secret) -> Result<KeyBlob> {
        let context = context(self.catalog, number, scope);
        let wrapped = self.provider.wrap(secret, &context).await?;
        // ORDER: unwrap, then use. The other way round, a provider that wraps with a key that it does not have -> content is
        // encrypted -> nothing reads it.
        if self.provider.unwrap(&wrapped, &context).await? != *secret {
            return Err(key_missing(&wrapped.key_id, "what it wraps does not come back"));
        }
        KeyBlob::new(self.catalog, number, scope, secret, wrapped)
    }

    /// Makes a key, unless another process makes one of that number first.
    async fn make(&self, number: u32, scope: &str) -> Result<()> {
        let secret = Secret(draw(&*self.entropy, "drawing a key")?);
        let blob = self.wrap(number, scope, &secret).await?;
        self.put(&blob, None).await
    }

    async fn put(&self, blob: &KeyBlob, wrapped_by: Option<&str>) -> Result<()> {
        let key = KeyBlob::key(blob.number, wrapped_by)?;
        let put = self.store.put(&key, blob.encode(self.catalog).into(), PutMode::Create).await;
        match put {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {}
            Err(error) => return Err(error.at("catalog")),
        }
        // ORDER: persist, then encrypt with it. The other way round, content is durable -> power cut: its key is gone. Also if it was found.
        self.store.persist(&"keys".parse()?).await.map_err(|error| error.at("catalog"))?;
        self.list().await
    }

    async fn unwrap(&self, number: u32) -> Result<Secret> {
        let (mut missing, wraps) = (None, self.wraps(number));
        // The newest wraps come last, and are more likely to be of a key that is still there.
        for blob in wraps.iter().rev() {
            let key_id = &blob.wrapped.key_id;
            match self.provider.unwrap(&blob.wrapped, &context(self.catalog, number, &blob.scope)).await {
                Ok(secret) if blob.is_of(self.catalog, &secret) => return Ok(secret),
                Ok(_) => {
                    missing = missing.or(Some(key_missing(key_id, "it is another key than the one of this id was")))
                }
                Err(error) if error.kind() == ErrorKind::KeyMissing => missing = missing.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        let unknown = || {
            let what = format!("data key `{number}` of the catalog has no good blob under `catalog/keys/`: restore it");
            Error::of(ErrorKind::KeyMissing, "KeyVaultKeyNotFound", format!("data key {number}"), what)
        };
        Err(missing.unwrap_or_else(unknown))
    }

    async fn data_key(&self, number: u32) -> Result<Arc<DataKey>> {
        if let Some(key) = self.unwrapped.lock().get(&number) {
            return Ok(key.clone());
        }
        if self.wraps(number).is_empty() {
            // Another process has made it.
            self.list().await?;
        }
        let key = Arc::new(DataKey::new(number, &self.unwrap(number).await?.0));
        self.unwrapped.lock().insert(number, key.clone());
        Ok(key)
    }

    /// Returns the newest data key of a region.
    fn newest_of(&self, scope: &str) -> Option<u32> {
        let of_scope = |wraps: &Vec<KeyBlob>| wraps.first().is_some_and(|blob| blob.scope == scope);
        self.known
            .lock()
            .iter()
            .rev()
            .find(|(number, wraps)| **number != NAMES && of_scope(wraps))
            .map(|(number, _)| *number)
    }

    async fn make_of(&self, scope: &str, is_old: impl Fn(u32) -> bool) -> Result<u32> {
        for _ in 0..ATTEMPTS {
            if let Some(newest) = self.newest_of(scope).filter(|newest| !is_old(*newest)) {
                return Ok(newest);
            }
            if !self.may_write {
                return Err(Error::unsupported("catalog keys", "the catalog is opened to read: it makes no keys"));
            }
            let next = self.known.lock().keys().next_back().map_or(1, |last| last + 1);
            self.make(next, scope).await?;
        }
        Err(Error::busy("catalog keys", "other processes make keys at the same time: call again"))
    }

    /// Wraps every key with the host's current one as well, and makes a new data key for each region whose newest was made with another.
    /// From then on nothing depends on the host's old keys but the data keys that are returned.
    pub(crate) async fn rotate(&self) -> Result<Vec<UnrotatedKey>> {
        self.list().await?;
        let (current, mut unrotated) = (self.provider.current().await?, Vec::new());
        let known = self.known.lock().clone();
        let mut scopes = BTreeMap::new();
        for (number, wraps) in &known {
            if wraps.iter().all(|blob| blob.wrapped.key_id != current) {
                match self.wrap_again(*number, &current).await {
                    Ok(()) => {}
                    // Without the names nothing is read: whatever comes next would fail.
                    Err(error) if *number == NAMES || error.kind() == ErrorKind::Unavailable => return Err(error),
                    Err(error) if matches!(error.kind(), ErrorKind::KeyMissing | ErrorKind::Corrupt) => {
                        let region = wraps.first().and_then(|blob| blob.scope.as_str().try_into().ok());
                        let key_ids = wraps.iter().map(|blob| blob.wrapped.key_id.clone()).collect();
                        unrotated.push(UnrotatedKey { number: *number, region, key_ids, reason: error.kind() });
                    }
                    Err(error) => return Err(error),
                }
            }
            if let Some(first) = wraps.first().filter(|_| *number != NAMES) {
                // In the order of their numbers: the last one counts.
                scopes.insert(first.scope.clone(), (*number, first.wrapped.key_id != current));
            }
        }
        for (scope, (newest, is_old)) in scopes {
            if is_old {
                self.make_of(&scope, |number| number <= newest).await?;
            }
        }
        Ok(unrotated)
    }

    /// Wraps a key with the host's current one, `current`, as well.
    async fn wrap_again(&self, number: u32, current: &str) -> Result<()> {
        let damaged = || {
            let what = format!("the blobs of data key `{number}` under `catalog/keys/` are damaged: restore them");
            Error::corrupt("catalog keys", what)
        };
        let scope = self.wraps(number).first().map(|blob| blob.scope.clone()).ok_or_else(damaged)?;
        let secret = self.unwrap(number).await?;
        let blob = self.wrap(number, &scope, &secret).await?;
        self.put(&blob, Some(&blob.wrapped.key_id)).await?;
        // One that was there already may be damaged.
        let is_wrapped = self.wraps(number).iter().any(|blob| blob.wrapped.key_id == current);
        if is_wrapped { Ok(()) } else { Err(damaged()) }
    }
}

/// The keys of a region. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegionKeys {
    /// `None` if the catalog is not encrypted.
    ring: Option<Arc<Keyring>>,
    scope: Arc<str>,
}

impl RegionKeys {
    pub(crate) fn new(ring: Option<Arc<Keyring>>, region: &str) -> Self {
        Self { ring, scope: region.into() }
    }

    /// Returns how the catalog names content.
    pub(crate) fn naming(&self) -> Naming {
        self.ring.as_ref().map_or(Naming::Plain, |ring| ring.naming)
    }

    /// Returns the workers that encrypt, if the catalog is encrypted.
    pub(crate) fn workers(&self) -> Option<&Workers> {
        self.ring.as_ref().map(|ring| &ring.workers)
    }

    /// Looks for keys that other processes have made since.
    pub(crate) async fn refresh(&self) -> Result<()> {
        match &self.ring {
            Some(ring) => ring.list().await,
            None => Ok(()),
        }
    }

    /// Returns the key for new blobs of the region; `None` if the catalog is not encrypted.
    pub(crate) async fn current(&self) -> Result<Option<Arc<DataKey>>> {
        let Some(ring) = &self.ring else { return Ok(None) };
        let number = ring.make_of(&self.scope, |_| false).await?;
        ring.data_key(number).await.map(Some)
    }

    /// Returns the key of a blob by the number in its head.
    ///
    /// # Errors
    ///
    /// `KeyMissing` if it is away, `Unavailable` if the provider does not answer, `Corrupt` for a plain blob of an encrypted catalog.
    pub(crate) async fn of_blob(&self, number: Option<u32>) -> Result<Option<Arc<DataKey>>> {
        match (&self.ring, number) {
            (None, None) => Ok(None),
            (Some(ring), Some(number)) => ring.data_key(number).await.map(Some),
            (Some(_), None) => Err(Error::corrupt("blob", "a blob of an encrypted catalog is not encrypted")),
            (None, Some(number)) => {
                let what = format!("a blob is encrypted with data key `{number}`, and the catalog has none");
                Err(Error::corrupt("blob", what))
            }
        }
    }
}
