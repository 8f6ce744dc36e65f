//! A certificate authority of the server's own: it signs a certificate for each host that a client asks for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::Datelike;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, crypto};

use crate::error::{Error, Result};
use crate::host::{Clock, SystemClock};

/// Certificates that are kept: a client can ask for any number of names.
const KEPT: usize = 256;

/// A certificate authority with a fresh key, which never leaves the process. Clients that trust [`pem`](Self::pem) accept the
/// server as any host.
///
/// ```
/// # #[cfg(feature = "serve")] {
/// let authority = compute_gallery::serve::Authority::new()?;
/// assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----"));
/// # }
/// # Ok::<(), compute_gallery::Error>(())
/// ```
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
    /// One key for all hosts.
    key: KeyPair,
    made: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Draws the keys and signs the authority's own certificate.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the system has no randomness.
    pub fn new() -> Result<Self> {
        let wrong = |error: rcgen::Error| failed(&error);
        let mut params = CertificateParams::new(Vec::new()).map_err(wrong)?;
        let year = SystemClock.now().year();
        params.not_before = rcgen::date_time_ymd(year - 1, 1, 1);
        params.not_after = rcgen::date_time_ymd(year + 10, 1, 1);
        params.distinguished_name.push(DnType::CommonName, "compute-gallery");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate = params.self_signed(&key).map_err(wrong)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            key: KeyPair::generate().map_err(wrong)?,
            made: Mutex::default(),
        })
    }

    /// Returns the authority's certificate, for a client to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes [`pem`](Self::pem) to a file, over what is there.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, &self.pem).map_err(|error| {
            Error::from_io(path.display().to_string(), "the authority's certificate could not be written", error)
        })
    }

    /// Returns the certificate of a host, and signs it if it is the first that is asked for.
    fn certificate(&self, host: &str) -> Result<Arc<CertifiedKey>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = made.get(host) {
            return Ok(there.clone());
        }
        let wrong = |error: rcgen::Error| failed(&error);
        let mut names = vec![host.to_owned()];
        names.extend(["localhost", "127.0.0.1", "::1"].into_iter().filter(|name| *name != host).map(str::to_owned));
        let mut params = CertificateParams::new(names).map_err(wrong)?;
        let year = SystemClock.now().year();
        params.not_before = rcgen::date_time_ymd(year - 1, 7, 1);
        params.not_after = rcgen::date_time_ymd(year + 1, 7, 1);
        params.distinguished_name.push(DnType::CommonName, host);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&self.key, &self.issuer).map_err(wrong)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let key = crypto::ring::sign::any_supported_type(&key).map_err(|error| failed(&error))?;
        let made_now = Arc::new(CertifiedKey::new(vec![certificate.der().clone(), self.der.clone()], key));
        if made.len() >= KEPT {
            made.clear();
        }
        made.insert(host.to_owned(), made_now.clone());
        Ok(made_now)
    }

    /// Returns the settings of the server's side of TLS. A client that names no host, because it connects to an address, gets
    /// the certificate of localhost.
    pub(super) fn tls(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>> {
        let provider = Arc::new(crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| failed(&error))?.with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(Hosts(self.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::unavailable("certificate", format!("a certificate could not be made: {error}"))
}

#[derive(Debug)]
struct Hosts(Arc<Authority>);

impl ResolvesServerCert for Hosts {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certificate(hello.server_name().unwrap_or("localhost")).ok()
    }
}
