//! The parsers of bytes that may be hostile, each as one function of any bytes: for the targets in `fuzz/`, and for the
//! test that replays their corpus. They must return, whatever they are given; a panic is a bug.

use crate::disk::Wrapping;
use crate::model::ResourceId;

/// A VHD file, opened and read from.
pub fn vhd(data: &[u8]) {
    crate::disk::fuzz::vhd(data);
}

/// A qcow2 file, opened and read from.
pub fn qcow2(data: &[u8]) {
    crate::disk::fuzz::qcow2(data);
}

/// The parts of a VHDX file, put in their places, opened and read from.
pub fn vhdx(data: &[u8]) {
    crate::disk::fuzz::vhdx(data);
}

/// A VMDK file, opened and read from.
pub fn vmdk(data: &[u8]) {
    crate::disk::fuzz::vmdk(data);
}

/// A disk's file in gzip, unwrapped.
pub fn gzip(data: &[u8]) {
    crate::disk::fuzz::wrapped(data, Wrapping::Gzip);
}

/// A disk's file in zstd, unwrapped.
pub fn zstd(data: &[u8]) {
    crate::disk::fuzz::wrapped(data, Wrapping::Zstd);
}

/// A disk's file in xz, unwrapped.
#[cfg(feature = "xz")]
pub fn xz(data: &[u8]) {
    crate::disk::fuzz::wrapped(data, Wrapping::Xz);
}

/// A tar archive of a disk's file, unwrapped.
pub fn tar(data: &[u8]) {
    crate::disk::fuzz::wrapped(data, Wrapping::Tar);
}

/// A resource id; what parses must be written as it was read, but for the case of its literals.
pub fn resource_id(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(id) = text.parse::<ResourceId>()
    {
        assert!(id.to_string().eq_ignore_ascii_case(text), "`{text}` was read as `{id}`");
    }
}

/// A catalog entry, and a checkpoint.
pub fn catalog_entry(data: &[u8]) {
    crate::catalog::fuzz(data);
}

/// The rows of a segment; what is read must be written and read again as it was.
pub fn catalog_segment(data: &[u8]) {
    crate::catalog::fuzz_rows(data);
}

/// A key of an encrypted catalog, without its hash; what is read must be written as it was.
pub fn catalog_key(data: &[u8]) {
    crate::keys::fuzz(data);
}

/// The front of a merged blob, without its hash; each member lies where it says.
pub fn content_merged(data: &[u8]) {
    crate::content::fuzz::merged(data);
}

/// The boot set of a disk, without its hash; what is read must be written as it was.
pub fn content_boot_set(data: &[u8]) {
    crate::content::fuzz::boot_set(data);
}

/// A request of Azure's wire protocol: `METHOD address`, and its body after the first line. The answer must be one of HTTP, with
/// JSON or nothing as its body, and an error of the server is a bug.
#[cfg(feature = "arm")]
pub fn arm_request(data: &[u8]) {
    static FACE: std::sync::OnceLock<crate::arm::Arm> = std::sync::OnceLock::new();
    let face = FACE.get_or_init(|| {
        let builder =
            crate::service::session::GalleryService::builder().allow_all().workers(crate::host::Workers::inline());
        let service = blocked(builder.store(crate::store::MemoryStore::new()).create()).ok();
        let service = service.unwrap_or_else(|| std::process::abort());
        crate::arm::ArmBuilder::new(service).named_sources(1 << 20).build()
    });
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = data.split_at(end);
    let Some((method, address)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' ')) else { return };
    let request = http::Request::builder().method(method).uri(address).header("Authorization", "Bearer x");
    let body = bytes::Bytes::copy_from_slice(body.strip_prefix(b"\n").unwrap_or(body));
    // What is no request of HTTP never reaches the face.
    let Ok(request) = request.body(body) else { return };
    let answer = blocked(face.answer(request));
    let is_json = answer.body().is_empty() || serde_json::from_slice::<serde_json::Value>(answer.body()).is_ok();
    assert!(is_json && !answer.status().is_server_error(), "{}: {:?}", answer.status(), answer.body());
}

/// Waits for a future on this thread.
#[cfg(feature = "arm")]
fn blocked<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let (mut context, mut future) = (std::task::Context::from_waker(&waker), std::pin::pin!(future));
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// An index node, a manifest, and the table of a pack.
pub fn content_index(data: &[u8]) {
    crate::content::fuzz::fuzz(data);
}
