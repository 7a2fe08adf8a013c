package gateway

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"headwater/proto/figure"
	"headwater/services/decode"
	"headwater/services/internal/credentials"
)

// reader reads and decodes one body at a time, and reuses its memory.
type reader struct {
	decoder *decode.Decoder
	body    bytes.Buffer
	gzip    gzip.Reader
	// zstd is shared by all readers, packed the body before it is decompressed.
	zstd   *zstd.Decoder
	packed bytes.Buffer
}

// keepBody bounds the buffer that a reader keeps for the next body.
const keepBody = 256 << 10

func newReader(limits decode.Limits, zones decode.Zones, declared decode.Declared, zstd *zstd.Decoder) *reader {
	return &reader{decoder: decode.New(limits, zones, declared), zstd: zstd}
}

// The values of Content-Encoding that are taken.
const (
	identity     = "identity"
	encodingGzip = "gzip"
	encodingZstd = "zstd"
)

func compressed(h http.Header) bool {
	encoding := h.Get("Content-Encoding")
	return encoding != "" && encoding != identity
}

// checkEncoding refuses a body that is compressed in a way that is not known.
func checkEncoding(h http.Header) *fault {
	switch h.Get("Content-Encoding") {
	case "", identity, encodingGzip, encodingZstd:
		return nil
	}
	return &fault{status: http.StatusUnsupportedMediaType, Error: "the Content-Encoding must be gzip, zstd, or none"}
}

const (
	// memoryWait is how long a body may wait for memory.
	memoryWait = 5 * time.Second
	// leastWeight is the memory that the smallest body counts for, in bytes.
	leastWeight = 16 << 10
)

// reserve waits until there is memory for the body of the request. release returns the
// memory.
func (s *Service) reserve(r *http.Request) (release func(), err error) {
	weight := int64(s.cfg.MaxBody)
	if n := r.ContentLength; n >= 0 && !compressed(r.Header) {
		// net/http reads no more than the declared length.
		weight = min(max(n, leastWeight), weight)
	} else if r.Header.Get("Content-Encoding") == encodingZstd {
		// The compressed body is held as a whole, too.
		weight = min(weight+unpackedMost(s.cfg.MaxBody), s.cfg.Memory)
	}
	ctx, cancel := context.WithTimeout(r.Context(), memoryWait)
	defer cancel()
	if err := s.memory.Acquire(ctx, weight); err != nil {
		return nil, fmt.Errorf("wait for memory: %w", err)
	}
	return func() { s.memory.Release(weight) }, nil
}

// read reads the body of the request and decodes it. The fault is nil when the body could
// be decoded, though single items may be refused.
func (s *Service) read(w http.ResponseWriter, r *http.Request, from credentials.Credential, format decodes) ([]decode.Item, int64, *fault) {
	if r.ContentLength > int64(s.cfg.MaxBody) {
		return nil, 0, s.tooLarge()
	}
	release, err := s.reserve(r)
	if err != nil {
		return nil, 0, unavailable("too many requests at once")
	}
	defer release()
	reader := s.readers.Get().(*reader)
	defer func() {
		for _, b := range []*bytes.Buffer{&reader.body, &reader.packed} {
			if b.Cap() > keepBody {
				*b = bytes.Buffer{}
			}
		}
		s.readers.Put(reader)
	}()

	// An error means that the connection has no deadlines, as in tests.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.cfg.ReadTimeout))
	body, err := reader.read(w, r, s.cfg.MaxBody)
	if err != nil {
		return nil, 0, s.readFault(err)
	}
	_ = control.SetReadDeadline(time.Time{})

	arrival := time.Now().UnixNano()
	items, err := format(from, reader.decoder, body, arrival)
	if err != nil {
		return nil, 0, bodyFault(err)
	}
	return items, arrival, nil
}

// read returns the body, decompressed. It is valid until the next call.
func (b *reader) read(w http.ResponseWriter, r *http.Request, most int) ([]byte, error) {
	b.body.Reset()
	var body io.Reader = http.MaxBytesReader(w, r.Body, int64(most))
	if !compressed(r.Header) {
		_, err := b.body.ReadFrom(body)
		return b.body.Bytes(), err
	}
	if r.Header.Get("Content-Encoding") == encodingZstd {
		return b.unpack(body, most)
	}
	raw := &counter{from: body}
	if err := b.gzip.Reset(raw); err != nil {
		return nil, err
	}
	inflated := &inflating{from: &b.gzip, compressed: raw, most: int64(most)}
	_, err := b.body.ReadFrom(inflated)
	return b.body.Bytes(), err
}

// zstdWindow is how far back a body of zstd may refer, in bytes. Every decoder should
// take that much.
const zstdWindow = 8 << 20

// unpackedMost is how large a body of zstd may become before its size is looked at, in
// bytes: the decoder has one bound for the size and the window.
func unpackedMost(most int) int64 { return max(int64(most), zstdWindow) }

// unpack decompresses a body of zstd. The decoder allocates unpackedMost at most.
func (b *reader) unpack(body io.Reader, most int) ([]byte, error) {
	b.packed.Reset()
	if _, err := b.packed.ReadFrom(body); err != nil {
		return nil, err
	}
	out, err := b.zstd.DecodeAll(b.packed.Bytes(), b.body.AvailableBuffer())
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), len(out) > most:
		return nil, errTooLarge
	case err != nil:
		return nil, errNotZstd
	case len(out) > freeRatio && len(out) > maxRatio*b.packed.Len():
		return nil, errInflatesTooMuch
	}
	b.body = *bytes.NewBuffer(out)
	return out, nil
}

var (
	errInflatesTooMuch = errors.New("the body inflates too much")
	errTooLarge        = errors.New("the body is too large")
	errNotZstd         = errors.New("the body is not valid zstd")
)

const (
	// maxRatio is how many times larger than its compressed form a body may be. JSON of
	// readings shrinks to between a tenth and a thirtieth; gzip reaches 1,000 at most.
	maxRatio = 200
	// freeRatio is the size in bytes up to which the ratio does not matter.
	freeRatio = 64 << 10
)

// counter counts what is read.
type counter struct {
	from io.Reader
	n    int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	return n, err
}

// inflating bounds the output of a decompressor.
type inflating struct {
	from       io.Reader
	compressed *counter
	n, most    int64
}

// Read implements io.Reader.
func (i *inflating) Read(p []byte) (int, error) {
	n, err := i.from.Read(p)
	i.n += int64(n)
	switch {
	case i.n > i.most:
		return n, errTooLarge
	case i.n > freeRatio && i.n > maxRatio*i.compressed.n:
		return n, errInflatesTooMuch
	}
	return n, err
}

// readFault returns the answer to a body that could not be read.
func (s *Service) readFault(err error) *fault {
	var large *http.MaxBytesError
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &large), errors.Is(err, errTooLarge):
		return s.tooLarge()
	case errors.Is(err, errInflatesTooMuch):
		return &fault{status: http.StatusRequestEntityTooLarge, Error: fmt.Sprintf("the body inflates to more than %d times its size", maxRatio)}
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return &fault{status: http.StatusBadRequest, Error: "the body is not valid gzip"}
	case errors.Is(err, errNotZstd):
		return &fault{status: http.StatusBadRequest, Error: err.Error()}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &fault{status: http.StatusRequestTimeout, Error: fmt.Sprintf("the body did not arrive within %s", figure.Duration(s.cfg.ReadTimeout))}
	}
	return &fault{status: http.StatusBadRequest, Error: "the body ends too early"}
}

func (s *Service) tooLarge() *fault {
	return &fault{status: http.StatusRequestEntityTooLarge, Error: fmt.Sprintf("the body is larger than %d bytes: send it in parts", s.cfg.MaxBody)}
}

// bodyFault returns the answer to a body that could not be decoded.
func bodyFault(err error) *fault {
	out := &fault{status: http.StatusBadRequest, Error: err.Error()}
	if e, ok := errors.AsType[*decode.Error](err); ok {
		out.Error, out.Reason, out.Line, out.Column = e.Error(), e.Reason, e.Line, e.Column
		if e.Reason == decode.ReasonTooLarge {
			out.status = http.StatusRequestEntityTooLarge
			out.Error = strings.TrimSuffix(e.Error(), ".") + ": send it in parts"
		}
	}
	return out
}
