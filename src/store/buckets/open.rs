//! Opening a bucket.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;

use super::bucket::{Bucket, Copiers, ObjectStoreBlobs, Service};
use super::runtime;
use crate::error::{Error, Result};

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use {
    super::bucket::Home,
    super::wire::Connector,
    object_store::{ClientConfigKey, RetryConfig, list::PaginatedListStore},
    std::sync::atomic::AtomicU64,
};

/// The time of a request in the client, which bounds what the gallery's own deadlines do not.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
const LONGEST_REQUEST: &str = "1 hour";

impl ObjectStoreBlobs {
    /// Uses a store that another crate brings, such as one in memory for a test, below `prefix` (the whole of it if empty).
    ///
    /// It must make each request once. An `object_store` client of S3, Azure or Google repeats requests by itself, and then takes
    /// its own success for another's blob: those are refused, give [`s3`](Self::s3), [`azure`](Self::azure) or
    /// [`google`](Self::google) their builder.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for such a client, or a prefix that is none;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if no thread can be started.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let name = store.to_string();
        for (client, builder) in [("AmazonS3(", "s3"), ("MicrosoftAzure {", "azure"), ("GoogleCloudStorage(", "google")]
        {
            if name.contains(client) {
                let what = format!(
                    "`{name}` repeats requests by itself, and would take its own success for another's: use \
                     `ObjectStoreBlobs::{builder}` with its builder"
                );
                return Err(Error::invalid("store", what));
            }
        }
        let bucket = Bucket {
            one_by_one: store.clone(),
            store,
            pages: None,
            service: Service::Other,
            home: None,
            runtime: started()?,
            requests: Arc::default(),
            copiers: Copiers::default(),
        };
        Ok(Self::of(bucket, parsed(prefix)?))
    }

    /// Opens a bucket by its address, with credentials and all other settings from the environment variables that each service's
    /// own tools use.
    ///
    /// | address | feature | variables |
    /// |---|---|---|
    /// | `s3://BUCKET/PREFIX` | `aws` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`; for another service `AWS_ENDPOINT`, for one without TLS `AWS_ALLOW_HTTP=true` |
    /// | `az://CONTAINER/PREFIX` | `azure` | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY` or `AZURE_STORAGE_SAS_KEY`, or `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`, `AZURE_CLIENT_SECRET`; for azurite `AZURE_STORAGE_USE_EMULATOR=true` |
    /// | `gs://BUCKET/PREFIX` | `gcp` | `GOOGLE_SERVICE_ACCOUNT` (a file), `GOOGLE_SERVICE_ACCOUNT_KEY` |
    ///
    /// Without credentials the machine's own identity is asked for them. The crate `object_store` lists all variables.
    ///
    /// No request is made: a bucket that does not exist shows with the first call.
    ///
    /// ```
    /// use compute_gallery::ErrorKind;
    /// use compute_gallery::store::ObjectStoreBlobs;
    ///
    /// let error = ObjectStoreBlobs::from_url("ftp://images/contoso").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Invalid);
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for an address or setting that is none; [`Unsupported`](crate::ErrorKind::Unsupported)
    /// without the feature of the service, or for a kind of bucket that lacks what a gallery needs.
    pub fn from_url(url: &str) -> Result<Self> {
        let wrong = || {
            let what =
                format!("`{url}` is not the address of a bucket: write `s3://BUCKET/PREFIX`, `az://…` or `gs://…`");
            Error::invalid("url", what)
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong());
        }
        match scheme {
            "s3" => s3_at(bucket, prefix),
            "az" => azure_at(bucket, prefix),
            "gs" => google_at(bucket, prefix),
            _ => Err(wrong()),
        }
    }

    /// Opens a bucket of S3, or of a service with its protocol, below `prefix` (the whole bucket if empty).
    ///
    /// Retries and the time limit of the builder are replaced: see [what it asks](Self#how-it-asks).
    ///
    /// # Errors
    ///
    /// As [`from_url`](Self::from_url). `Unsupported` for a directory bucket (S3 Express), which lists in no order, and where
    /// conditional puts are turned off.
    #[cfg(feature = "aws")]
    pub fn s3(builder: object_store::aws::AmazonS3Builder, prefix: &str) -> Result<Self> {
        use object_store::aws::AmazonS3ConfigKey as Key;

        let value = |key| builder.get_config_value(&key);
        let is = |key, wanted: &str| value(key).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
        if is(Key::S3Express, "true") || value(Key::Bucket).is_some_and(|bucket| bucket.ends_with("--x-s3")) {
            let what = "it is a directory bucket (S3 Express One Zone), which lists blobs in no order: use a general purpose bucket";
            return Err(Error::unsupported("bucket", what));
        }
        if is(Key::ConditionalPut, "disabled") {
            let what = "conditional puts are turned off (`conditional_put`), and without them two processes would overwrite each \
                        other: no gallery can use it";
            return Err(Error::unsupported("bucket", what));
        }
        let endpoint = value(Key::S3Endpoint).or(value(Key::Endpoint)).unwrap_or_default();
        refuse_plain_http("AWS_ALLOW_HTTP", &endpoint, value(Key::Client(ClientConfigKey::AllowHttp)))?;
        let deletes_many = !is(Key::DisableBulkDelete, "true");
        let home = value(Key::Bucket).map(|bucket| Home { at: endpoint, bucket });
        let requests = Arc::<AtomicU64>::default();
        let builder = builder
            .with_retry(once())
            .with_config(Key::Client(ClientConfigKey::Timeout), LONGEST_REQUEST)
            .with_http_connector(Connector(requests.clone()));
        let one_by_one = builder.clone().with_disable_bulk_delete(true).build().map_err(unopened)?;
        let store = Arc::new(builder.clone().build().map_err(unopened)?);
        let copiers = Copiers::made_by(s3_copiers(builder));
        let bucket = Bucket {
            pages: Some(store.clone() as Arc<dyn PaginatedListStore>),
            store,
            one_by_one: Arc::new(one_by_one),
            service: Service::S3 { deletes_many },
            home,
            runtime: started()?,
            requests,
            copiers,
        };
        Ok(Self::of(bucket, parsed(prefix)?))
    }

    /// Opens a container of Azure Blob Storage, below `prefix` (the whole container if empty).
    ///
    /// Retries and the time limit of the builder are replaced: see [what it asks](Self#how-it-asks).
    ///
    /// # Errors
    ///
    /// As [`from_url`](Self::from_url).
    #[cfg(feature = "azure")]
    pub fn azure(builder: object_store::azure::MicrosoftAzureBuilder, prefix: &str) -> Result<Self> {
        use object_store::azure::AzureConfigKey as Key;

        let value = |key| builder.get_config_value(&key);
        let endpoint = value(Key::Endpoint).unwrap_or_default();
        refuse_plain_http("AZURE_ALLOW_HTTP", &endpoint, value(Key::Client(ClientConfigKey::AllowHttp)))?;
        let at = format!("{endpoint} {}", value(Key::AccountName).unwrap_or_default());
        let home = value(Key::ContainerName).map(|bucket| Home { at, bucket });
        let requests = Arc::<AtomicU64>::default();
        let client = builder
            .with_retry(once())
            .with_config(Key::Client(ClientConfigKey::Timeout), LONGEST_REQUEST)
            .with_http_connector(Connector(requests.clone()))
            .build();
        let store = Arc::new(client.map_err(unopened)?);
        let bucket = Bucket {
            pages: Some(store.clone() as Arc<dyn PaginatedListStore>),
            one_by_one: store.clone(),
            store,
            service: Service::Azure,
            home,
            runtime: started()?,
            requests,
            copiers: Copiers::default(),
        };
        Ok(Self::of(bucket, parsed(prefix)?))
    }

    /// Opens a bucket of Google Cloud Storage, below `prefix` (the whole bucket if empty).
    ///
    /// Retries and the time limit of the builder are replaced: see [what it asks](Self#how-it-asks).
    ///
    /// # Errors
    ///
    /// As [`from_url`](Self::from_url).
    #[cfg(feature = "gcp")]
    pub fn google(builder: object_store::gcp::GoogleCloudStorageBuilder, prefix: &str) -> Result<Self> {
        use object_store::gcp::GoogleConfigKey as Key;

        let value = |key| builder.get_config_value(&key);
        let at = value(Key::BaseUrl).unwrap_or_default();
        refuse_plain_http("GOOGLE_ALLOW_HTTP", &at, value(Key::Client(ClientConfigKey::AllowHttp)))?;
        let home = value(Key::Bucket).map(|bucket| Home { at, bucket });
        let requests = Arc::<AtomicU64>::default();
        let client = builder
            .with_retry(once())
            .with_config(Key::Client(ClientConfigKey::Timeout), LONGEST_REQUEST)
            .with_http_connector(Connector(requests.clone()))
            .build();
        let store = Arc::new(client.map_err(unopened)?);
        let bucket = Bucket {
            pages: Some(store.clone() as Arc<dyn PaginatedListStore>),
            one_by_one: store.clone(),
            store,
            service: Service::Google,
            home,
            runtime: started()?,
            requests,
            copiers: Copiers::default(),
        };
        Ok(Self::of(bucket, parsed(prefix)?))
    }
}

#[cfg(feature = "aws")]
fn s3_at(bucket: &str, prefix: &str) -> Result<ObjectStoreBlobs> {
    ObjectStoreBlobs::s3(object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket), prefix)
}

#[cfg(not(feature = "aws"))]
fn s3_at(bucket: &str, _prefix: &str) -> Result<ObjectStoreBlobs> {
    Err(without("s3", bucket, "aws"))
}

#[cfg(feature = "azure")]
fn azure_at(container: &str, prefix: &str) -> Result<ObjectStoreBlobs> {
    ObjectStoreBlobs::azure(
        object_store::azure::MicrosoftAzureBuilder::from_env().with_container_name(container),
        prefix,
    )
}

#[cfg(not(feature = "azure"))]
fn azure_at(container: &str, _prefix: &str) -> Result<ObjectStoreBlobs> {
    Err(without("az", container, "azure"))
}

#[cfg(feature = "gcp")]
fn google_at(bucket: &str, prefix: &str) -> Result<ObjectStoreBlobs> {
    ObjectStoreBlobs::google(object_store::gcp::GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket), prefix)
}

#[cfg(not(feature = "gcp"))]
fn google_at(bucket: &str, _prefix: &str) -> Result<ObjectStoreBlobs> {
    Err(without("gs", bucket, "gcp"))
}

#[cfg(not(all(feature = "aws", feature = "azure", feature = "gcp")))]
fn without(scheme: &str, bucket: &str, feature: &str) -> Error {
    let what = format!("`{scheme}://{bucket}` needs the feature `{feature}` of this crate, which is off: turn it on");
    Error::unsupported("url", what)
}

/// A client says which bucket a name is in, and that may be another one than it sends its requests to: of an address that has the
/// bucket in it, as virtual hosts have, the name is not looked at.
#[cfg(feature = "aws")]
fn s3_copiers(builder: object_store::aws::AmazonS3Builder) -> Option<super::bucket::NewCopier> {
    use object_store::aws::AmazonS3ConfigKey as Key;

    let value = |key| builder.get_config_value(&key);
    let bucket = value(Key::Bucket)?;
    let is_virtual = value(Key::VirtualHostedStyleRequest).is_some_and(|is| is.eq_ignore_ascii_case("true"));
    let region = value(Key::Region).unwrap_or_else(|| "us-east-1".to_owned());
    let address = match (value(Key::S3Endpoint).or(value(Key::Endpoint)), is_virtual) {
        (Some(endpoint), true) => endpoint,
        (Some(endpoint), false) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
    };
    Some(Box::new(move |source| {
        let to_us =
            builder.clone().with_config(Key::S3Endpoint, address.clone()).with_virtual_hosted_style_request(true);
        Ok(Arc::new(to_us.with_bucket_name(source).build()?))
    }))
}

fn started() -> Result<Handle> {
    runtime::handle().map_err(|error| Error::from_io("runtime", "start its threads", error))
}

fn parsed(prefix: &str) -> Result<Path> {
    Path::parse(prefix).map_err(|error| {
        Error::invalid("prefix", format!("`{}` is not a prefix of names: {error}", prefix.escape_debug()))
            .with_source(error)
    })
}

/// Each request is made once: who repeats a conditional put must know that it may find its own blob.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// A client that is not allowed to use HTTP fails with each call, in words of its library.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn refuse_plain_http(variable: &str, endpoint: &str, allowed: Option<String>) -> Result<()> {
    let is_allowed = allowed.is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if endpoint.starts_with("http://") && !is_allowed {
        let what = format!("`{endpoint}` is without TLS, which is not allowed: use https, or set `{variable}=true`");
        return Err(Error::invalid("endpoint", what));
    }
    Ok(())
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn unopened(error: object_store::Error) -> Error {
    Error::invalid("bucket", format!("a setting is missing or wrong: {error}")).with_source(error)
}
