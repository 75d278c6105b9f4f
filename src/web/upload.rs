//! Reads request bodies into memory, within limits, and extracts the images.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Options;
use super::form::{self, IMAGE, Picture};
use super::params::CaptionParams;
use super::refusal::{Refusal, shown};

/// The unit in which the memory for uploads is counted, in bytes.
const PIECE: usize = 4 << 10;

/// The largest buffer, in bytes, that is allocated before any data has arrived.
const MAX_FIRST_BUFFER: usize = 64 << 10;

/// The memory that all uploads together may take.
pub struct UploadMemory(Arc<Semaphore>);

impl UploadMemory {
    pub fn new(bytes: usize) -> Self {
        UploadMemory(Arc::new(Semaphore::new(bytes.div_ceil(PIECE))))
    }
}

/// The body of a request. Dropping it releases its share of the memory.
pub struct Upload {
    bytes: Vec<u8>,
    share: OwnedSemaphorePermit,
}

/// Reads request bodies.
pub struct Reader<'a> {
    pub memory: &'a UploadMemory,
    pub options: &'a Options,
}

impl Reader<'_> {
    /// Reads the images of a request: those of its multipart fields, or the body itself. Other fields of a form are
    /// stored in `params`.
    pub async fn pictures(
        &self,
        request: Request,
        params: &mut CaptionParams,
    ) -> Result<Pictures, Refusal> {
        let (parts, body) = request.into_parts();
        check_coding(&parts.headers)?;
        let Upload { bytes, share } = self.upload(&parts.headers, body).await?;
        if bytes.is_empty() {
            return Err(Refusal::bad_request(
                "the request is empty; send the bytes of an image, or a multipart form with a field `image`",
            ));
        }
        let bytes = Bytes::from(bytes);
        let pictures = match form::kind(&parts.headers) {
            Some(kind) => form::read(kind.clone(), bytes, params, self.options).await?,
            None => vec![Picture {
                name: IMAGE.into(),
                bytes,
            }],
        };
        Ok(Pictures {
            pictures,
            _share: share,
        })
    }

    async fn upload(&self, headers: &HeaderMap, body: Body) -> Result<Upload, Refusal> {
        let most = self.options.upload_bytes;
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|bytes| bytes > most) {
            return Err(self.too_large());
        }
        let mut upload = Upload {
            // The announced length may be false, so little is allocated at first.
            bytes: Vec::with_capacity(announced.unwrap_or(0).min(MAX_FIRST_BUFFER)),
            share: self.share(0)?,
        };
        let started = Instant::now();
        let mut stream = body.into_data_stream();
        while let Some(chunk) = self.in_time(stream.next()).await? {
            let chunk = chunk.map_err(|_| Refusal::bad_request("the request breaks off"))?;
            let bytes = upload.bytes.len() + chunk.len();
            if bytes > most {
                return Err(self.too_large());
            }
            let more = bytes.div_ceil(PIECE) - upload.share.num_permits();
            upload.share.merge(self.share(more)?);
            upload.bytes.extend_from_slice(&chunk);
            self.check_rate(upload.bytes.len(), started.elapsed())?;
        }
        Ok(upload)
    }

    /// Reserves more of the memory for uploads.
    fn share(&self, pieces: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
        self.memory
            .0
            .clone()
            .try_acquire_many_owned(pieces)
            .map_err(|_| {
                Refusal::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many uploads at once; try again in a moment",
                )
            })
    }

    /// Refuses a client that sends too slowly, although it is never silent for long.
    fn check_rate(&self, bytes: usize, took: Duration) -> Result<(), Refusal> {
        let rate = self.options.upload_rate;
        let counted = took.saturating_sub(self.options.read_timeout);
        match (bytes as f64) < rate as f64 * counted.as_secs_f64() {
            true => Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the request comes too slowly, at less than {rate} bytes a second"),
            )),
            false => Ok(()),
        }
    }

    async fn in_time<T>(&self, next: impl Future<Output = T>) -> Result<T, Refusal> {
        let limit: Duration = self.options.read_timeout;
        timeout(limit, next).await.map_err(|_| {
            Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("nothing came for {} s", limit.as_secs_f64()),
            )
        })
    }

    fn too_large(&self) -> Refusal {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the request is larger than {} bytes; scale the image down first",
                self.options.upload_bytes
            ),
        )
    }
}

/// Refuses a compressed body, because its unpacked size is unknown.
fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let codings = codings.map(|coding| coding.to_str().unwrap_or("something unreadable").trim());
    let mut codings = codings.filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    match codings.next() {
        Some(coding) => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "the header Content-Encoding says `{}`; send the bytes of the image as they are, without this header",
                shown(coding)
            ),
        )
        .closing()),
        None => Ok(()),
    }
}

/// The images of a request, with their share of the memory.
pub struct Pictures {
    pub pictures: Vec<Picture>,
    _share: OwnedSemaphorePermit,
}

impl Pictures {
    /// Returns the names of the images, and drops everything else.
    pub fn into_names(self) -> Vec<String> {
        self.pictures.into_iter().map(|p| p.name).collect()
    }
}
