package uplink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

// Bounds of one upload, in bytes.
const (
	// MaxBody bounds the body, MaxUnpacked the frames in it.
	MaxBody     = 2 << 20
	MaxUnpacked = 16 << 20
	// MaxFrames bounds their number.
	MaxFrames = 4096
)

// ErrUpload is returned for a body that cannot be read.
var ErrUpload = errors.New("the body is not an upload of an edge")

// coders return the compressor and the decompressor, which any number of goroutines may use.
var (
	encoder = sync.OnceValues(func() (*zstd.Encoder, error) { return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1)) })
	decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxUnpacked))
	})
)

// Pack packs frames into the body of an upload.
func Pack[M proto.Message](frames []M) ([]byte, error) {
	var raw bytes.Buffer
	for _, f := range frames {
		if _, err := protodelim.MarshalTo(&raw, f); err != nil {
			return nil, fmt.Errorf("pack an upload: %w", err)
		}
	}
	e, err := encoder()
	if err != nil {
		return nil, fmt.Errorf("pack an upload: %w", err)
	}
	return e.EncodeAll(raw.Bytes(), nil), nil
}

// Unpack undoes Pack. Each frame is a message that create returns. It returns ErrUpload for
// a body that is damaged or beyond its bounds.
func Unpack[M proto.Message](body []byte, create func() M) ([]M, error) {
	d, err := decoder()
	if err != nil {
		return nil, fmt.Errorf("unpack an upload: %w", err)
	}
	raw, err := d.DecodeAll(body, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUpload, err)
	}
	in := bytes.NewReader(raw)
	var frames []M
	for {
		f := create()
		err := protodelim.UnmarshalOptions{MaxSize: MaxUnpacked}.UnmarshalFrom(in, f)
		switch {
		case errors.Is(err, io.EOF):
			return frames, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrUpload, err)
		case len(frames) == MaxFrames:
			return nil, fmt.Errorf("%w: more than %d frames", ErrUpload, MaxFrames)
		}
		frames = append(frames, f)
	}
}
