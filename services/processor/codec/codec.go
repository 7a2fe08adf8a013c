// Package codec writes and reads the compact binary form of the state of windows and
// detectors in a snapshot. Equal states give equal bytes. The form has no field names or
// types: the reader must read the fields in the order in which the writer has written
// them. A snapshot begins with the version of that order.
package codec

import (
	"encoding/binary"
	"errors"
	"math"
)

// ErrCorrupt is returned by Reader.Err if the bytes end early or contradict themselves. The
// caller must discard the state that it has read so far.
var ErrCorrupt = errors.New("corrupt state")

// Uint appends v in one to ten bytes, fewer for small numbers.
func Uint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// Int appends v in one to ten bytes, fewer for numbers near zero.
func Int(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// Float appends the eight bytes of v. Reading them restores every bit.
func Float(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

// Bool appends one byte.
func Bool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// String appends the length of s and s.
func String(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Bytes appends the length of p and p.
func Bytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

// Reader reads what the functions of this package wrote, in the same order. After the first
// error every method returns zero values, so a caller may check Err once at the end. It is
// for one goroutine only.
type Reader struct {
	data []byte
	err  error
}

// NewReader returns a Reader of data, which it does not copy.
func NewReader(data []byte) *Reader { return &Reader{data: data} }

// Err returns ErrCorrupt after something could not be read, or else nil.
func (r *Reader) Err() error { return r.err }

// Len returns how many bytes are left.
func (r *Reader) Len() int { return len(r.data) }

// Fail makes Err return ErrCorrupt. Callers use it if they have read an invalid value.
func (r *Reader) Fail() {
	r.err = ErrCorrupt
	r.data = nil
}

// Uint reads what Uint wrote.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

// Int reads what Int wrote.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

// Float reads what Float wrote.
func (r *Reader) Float() float64 {
	if len(r.data) < 8 {
		r.Fail()
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.data))
	r.data = r.data[8:]
	return v
}

// Bool reads what Bool wrote.
func (r *Reader) Bool() bool {
	if len(r.data) < 1 || r.data[0] > 1 {
		r.Fail()
		return false
	}
	v := r.data[0] == 1
	r.data = r.data[1:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.data) < 1 {
		r.Fail()
		return 0
	}
	v := r.data[0]
	r.data = r.data[1:]
	return v
}

// String reads what String wrote.
func (r *Reader) String() string { return string(r.Bytes()) }

// Bytes reads what Bytes wrote. The result is part of the Reader's input.
func (r *Reader) Bytes() []byte {
	n := r.Uint()
	if n > uint64(len(r.data)) {
		r.Fail()
		return nil
	}
	p := r.data[:n:n]
	r.data = r.data[n:]
	return p
}

// Count reads a number of elements that follow. It fails if fewer bytes follow than
// elements, so corrupt bytes can't request more memory than their own length.
func (r *Reader) Count() int {
	n := r.Uint()
	if n > uint64(len(r.data)) {
		r.Fail()
		return 0
	}
	return int(n)
}
