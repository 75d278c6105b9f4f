//! What a client sends, taken into memory within limits, and the images in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::refusal::{Refusal, shown};
use super::wish::Wish;
use super::{Options, form};

/// The multipart field of an image, and what an image without a name is called.
pub const IMAGE: &str = "image";

/// Uploads are counted in pieces of this size.
const PIECE: usize = 4 << 10;

/// Room for so many bytes is made before any has come.
const FIRST: usize = 64 << 10;

/// Memory that uploads may take, all of them together.
pub struct Held(Arc<Semaphore>);

impl Held {
    pub fn new(bytes: usize) -> Self {
        Held(Arc::new(Semaphore::new(bytes.div_ceil(PIECE))))
    }
}

/// The body of a request. What it takes of the memory is given back with it.
pub struct Upload {
    bytes: Vec<u8>,
    share: OwnedSemaphorePermit,
}

/// An image as it was sent.
pub struct Picture {
    pub name: String,
    pub bytes: Bytes,
}

/// What a request's body is read by.
pub struct Reader<'a> {
    pub held: &'a Held,
    pub options: &'a Options,
}

impl Reader<'_> {
    /// The images that a request brings: those of its multipart fields, or the body as it is. What other fields say,
    /// `wish` takes in.
    pub async fn pictures(&self, request: Request, wish: &mut Wish) -> Result<Pictures, Refusal> {
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
            Some(kind) => form::read(kind.clone(), bytes, wish, self.options).await?,
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
            // What is announced may never come.
            bytes: Vec::with_capacity(announced.unwrap_or(0).min(FIRST)),
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

    /// So much more of the memory for uploads.
    fn share(&self, pieces: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
        self.held
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

    /// Refuses a sender who is never silent for long, and never done either.
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

/// Refuses a body that was compressed to be sent, which would have to be unpacked to nobody knows how much.
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

/// The images of a request, and the memory that they take.
pub struct Pictures {
    pub pictures: Vec<Picture>,
    _share: OwnedSemaphorePermit,
}

impl Pictures {
    /// What they are called; the rest is let go.
    pub fn into_names(self) -> Vec<String> {
        self.pictures.into_iter().map(|p| p.name).collect()
    }
}
