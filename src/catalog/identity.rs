//! The identity of a catalog: a random id, drawn once, that every region's store is bound to.

use serde::{Deserialize, Serialize};

use super::features::Features;
use super::frame::FORMAT;
use crate::catalog::frame;
use crate::content::digest::Digest;
pub(crate) use crate::content::names::CatalogId;
use crate::content::names::UploadId;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{Entropy, draw};
use crate::store::{BlobKey, BlobStore, BlobStoreExt, PutMode, StoreErrorKind};

/// The blob that makes a store a catalog. The first entry of the log follows its hash, so that no log can be put under
/// another catalog's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    format: u32,
    pub(super) catalog: CatalogId,
    /// The features that it was made with. More are enabled in the log.
    pub(super) features: Features,
}

fn key() -> Result<BlobKey> {
    "identity".parse()
}

impl Identity {
    fn new(entropy: &dyn Entropy, features: Features) -> Result<Self> {
        let catalog = CatalogId(UploadId::from_bytes(draw(entropy, "drawing a catalog's id")?));
        Ok(Self { format: FORMAT, catalog, features })
    }

    /// Returns the identity of the catalog on `store`, with the hash that its log starts from; `None` if there is no
    /// catalog.
    pub(super) async fn find(store: &dyn BlobStore) -> Result<Option<(Self, Digest)>> {
        let key = key()?;
        let Some(bytes) = store.find(&key).await.map_err(|error| error.at("catalog"))? else { return Ok(None) };
        let (digest, identity): (_, Self) = frame::decode(&bytes, &key)?;
        identity.features.refuse_unreadable()?;
        Ok(Some((identity, digest)))
    }

    /// Creates a catalog on `store`.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if there is one.
    pub(super) async fn create(
        store: &dyn BlobStore,
        entropy: &dyn Entropy,
        features: Features,
    ) -> Result<(Self, Digest)> {
        refuse_remains(store).await?;
        let (key, identity) = (key()?, Self::new(entropy, features)?);
        let (digest, bytes) = frame::encode(&identity)?;
        match store.put(&key, bytes, PutMode::Create).await {
            Ok(()) => Ok((identity, digest)),
            // It may be our own, if the answer was lost.
            Err(error) if matches!(error.kind(), StoreErrorKind::AlreadyExists | StoreErrorKind::Unknown) => {
                match Self::find(store).await? {
                    Some((there, digest)) if there == identity => {
                        // ORDER: persist, then return. Found by reading, so perhaps not durable yet: entries that
                        // follow it would outlive it in a power cut.
                        persist(store).await?;
                        Ok((identity, digest))
                    }
                    Some((there, _)) => Err(already(there.catalog)),
                    None => Err(error.at("catalog")),
                }
            }
            Err(error) => Err(error.at("catalog")),
        }
    }
}

/// Makes an identity durable that was found by reading.
pub(super) async fn persist(store: &dyn BlobStore) -> Result<()> {
    store.persist(&key()?).await.map_err(|error| error.at("catalog"))
}

/// Returns the error of a store that has a catalog already.
fn already(catalog: CatalogId) -> Error {
    let what = format!("the store has catalog {catalog} already: open it, or choose another store");
    Error::of(ErrorKind::AlreadyExists, "OperationNotAllowed", "catalog", what)
}

/// Returns the error of a store without a catalog.
pub(super) fn absent() -> Error {
    let what = "this store has no catalog: mount its disk, or correct its path or prefix; create a new catalog with \
                `create`";
    Error::not_found("catalog", what)
}

/// Refuses a log or checkpoint without an identity: the catalog that they belong to has lost some of its blobs.
pub(super) async fn refuse_remains(store: &dyn BlobStore) -> Result<()> {
    for folder in ["log", "checkpoints"] {
        let page = store.list(Some(&folder.parse()?), None, 1).await.map_err(|error| error.at("catalog"))?;
        if let Some(blob) = page.blobs.first()
            && Identity::find(store).await?.is_none()
        {
            let what =
                format!("`{}` exists and `identity` does not: restore `identity`; nothing was changed", blob.key);
            return Err(Error::corrupt("catalog", what));
        }
    }
    Ok(())
}
