package decode

import (
	"encoding/base64"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// asJSON returns the JSON text of a body in CBOR or MessagePack, which is read as such. It
// is valid until the next call.
func (d *Decoder) asJSON(form Form, body []byte) ([]byte, *Error) {
	w := &writer{in: body, out: d.transcoded[:0], most: 8*len(body) + 1024, senML: form == FormSenMLCBOR}
	read := w.cbor
	if form == FormMessagePack {
		read = w.msgpack
	}
	err := read(0)
	if err == nil && w.at < len(body) {
		err = w.fault("something follows the first value")
	}
	d.transcoded = w.out
	if err != nil {
		err.Detail = "it is not valid " + string(form) + " at byte " + strconv.Itoa(w.at) + ": " + err.Detail
		return nil, err
	}
	return w.out, nil
}

// binaryForm returns the form of a binary payload that holds an object or an array of
// values, or one floating-point number; empty for none.
func (d *Decoder) binaryForm(payload []byte) Form {
	for _, form := range []Form{FormCBOR, FormMessagePack} {
		text, err := d.asJSON(form, payload)
		if err != nil || len(text) == 0 {
			continue
		}
		c, float := payload[0], false
		switch form {
		case FormCBOR:
			float = 0xf9 <= c && c <= 0xfb
		default:
			float = c == 0xca || c == 0xcb
		}
		if text[0] == '{' || text[0] == '[' || float {
			return form
		}
	}
	return ""
}

// writer writes the JSON text of a binary form.
type writer struct {
	in, out []byte
	at      int
	// most bounds the output.
	most int
	// senML has the numbers of labels written as their names.
	senML bool
}

// deepest bounds how deeply a binary form may be nested. What JSON may be is checked
// when it is read.
const deepest = 32

func (w *writer) fault(what string) *Error { return refuse("", "%s", what) }

func (w *writer) short() *Error { return w.fault("it ends too early") }

// take returns the next n bytes.
func (w *writer) take(n uint64) ([]byte, *Error) {
	if n > uint64(len(w.in)-w.at) {
		return nil, w.short()
	}
	b := w.in[w.at : w.at+int(n)]
	w.at += int(n)
	return b, nil
}

// number reads a big-endian number of n bytes.
func (w *writer) number(n int) (uint64, *Error) {
	b, err := w.take(uint64(n))
	if err != nil {
		return 0, err
	}
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v, nil
}

// room returns an error when the output is larger than any that is reasonable.
func (w *writer) room(depth int) *Error {
	switch {
	case depth > deepest:
		return w.fault("it is nested more than 32 deep")
	case len(w.out) > w.most:
		return tooLarge("", "it is too large as JSON")
	}
	return nil
}

func (w *writer) text(b []byte) *Error {
	out, err := jsontext.AppendQuote(w.out, b)
	if err != nil {
		return w.fault("a text is not UTF-8")
	}
	w.out = out
	return nil
}

func (w *writer) bytes(b []byte) {
	w.out = append(w.out, '"')
	w.out = base64.StdEncoding.AppendEncode(w.out, b)
	w.out = append(w.out, '"')
}

func (w *writer) float(v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		w.out = append(w.out, '"')
		w.out = strconv.AppendFloat(w.out, v, 'g', -1, 64)
		w.out = append(w.out, '"')
		return
	}
	w.out = strconv.AppendFloat(w.out, v, 'g', -1, 64)
}

// many writes n values, or values until stop returns true when n is negative.
func (w *writer) many(open byte, n int64, depth int, read func(int) *Error, stop func() bool) *Error {
	w.out = append(w.out, open)
	for i := int64(0); i != n; i++ {
		if n < 0 && stop() {
			break
		}
		if i > 0 {
			w.out = append(w.out, ',')
		}
		if open == '{' {
			if err := w.key(depth, read); err != nil {
				return err
			}
			w.out = append(w.out, ':')
		}
		if err := read(depth + 1); err != nil {
			return err
		}
	}
	w.out = append(w.out, open+2)
	return nil
}

// key writes the name of a member: a text, or a number as one.
func (w *writer) key(depth int, read func(int) *Error) *Error {
	first := len(w.out)
	if err := read(depth + 1); err != nil {
		return err
	}
	switch c := w.out[first]; {
	case c == '"':
		return nil
	case c == '-' || '0' <= c && c <= '9':
		name := string(w.out[first:])
		if w.senML {
			name = senMLLabel(name)
		}
		w.out = strconv.AppendQuote(w.out[:first], name)
		return nil
	}
	return w.fault("a key is neither a text nor a number")
}

func senMLLabel(number string) string {
	n, err := strconv.Atoi(number)
	switch {
	case err != nil:
	case n < 0 && -n <= len(baseLabels):
		return baseLabels[-n-1]
	case n >= 0 && n < len(valueLabels):
		return valueLabels[n]
	}
	return number
}

// Major types of CBOR.
const (
	cborUnsigned = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple
)

// indefinite marks a CBOR value whose length is not given; stop ends it.
const (
	indefinite = 31
	cborStop   = 0xff
)

func (w *writer) stopped() bool {
	if w.at < len(w.in) && w.in[w.at] == cborStop {
		w.at++
		return true
	}
	return false
}

// cbor writes the next value of CBOR.
func (w *writer) cbor(depth int) *Error {
	if err := w.room(depth); err != nil {
		return err
	}
	head, err := w.number(1)
	if err != nil {
		return err
	}
	major, info := int(head>>5), int(head&31)
	argument, length := uint64(info), int64(-1)
	switch {
	case info < 24:
	case info < 28:
		if argument, err = w.number(1 << (info - 24)); err != nil {
			return err
		}
	case info != indefinite || major < cborBytes || major > cborMap:
		return w.fault("the first byte of a value is not known")
	}
	if info != indefinite {
		if major >= cborBytes && major <= cborMap && argument > uint64(len(w.in)-w.at) {
			return w.short()
		}
		length = int64(argument)
	}
	switch major {
	case cborUnsigned:
		w.out = strconv.AppendUint(w.out, argument, 10)
	case cborNegative:
		if argument == math.MaxUint64 {
			return w.fault("a number is too great")
		}
		w.out = strconv.AppendUint(append(w.out, '-'), argument+1, 10)
	case cborBytes, cborText:
		b, err := w.chunks(major, length)
		if err != nil {
			return err
		}
		if major == cborBytes {
			w.bytes(b)
			return nil
		}
		return w.text(b)
	case cborArray:
		return w.many('[', length, depth, w.cbor, w.stopped)
	case cborMap:
		return w.many('{', length, depth, w.cbor, w.stopped)
	case cborTag:
		return w.cbor(depth + 1)
	default:
		return w.simple(info, argument)
	}
	return nil
}

// chunks returns the content of a CBOR string, which may come in parts.
func (w *writer) chunks(major int, length int64) ([]byte, *Error) {
	if length >= 0 {
		return w.take(uint64(length))
	}
	var all []byte
	for !w.stopped() {
		head, err := w.number(1)
		if err != nil {
			return nil, err
		}
		n := head & 31
		if int(head>>5) != major || n >= 28 {
			return nil, w.fault("a part of a text is none")
		}
		if n >= 24 {
			if n, err = w.number(1 << (n - 24)); err != nil {
				return nil, err
			}
		}
		part, err := w.take(n)
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, nil
}

// simple writes false, true, null and floating-point numbers.
func (w *writer) simple(info int, argument uint64) *Error {
	switch info {
	case 20:
		w.out = append(w.out, "false"...)
	case 21:
		w.out = append(w.out, "true"...)
	case 22, 23:
		w.out = append(w.out, "null"...)
	case 25:
		w.float(half(uint16(argument)))
	case 26:
		w.single(uint32(argument))
	case 27:
		w.float(math.Float64frombits(argument))
	default:
		return w.fault("a simple value is not known")
	}
	return nil
}

// single writes a number of 32 bits with the digits that it has.
func (w *writer) single(bits uint32) {
	v := float64(math.Float32frombits(bits))
	if math.IsNaN(v) || math.IsInf(v, 0) {
		w.float(v)
		return
	}
	w.out = strconv.AppendFloat(w.out, v, 'g', -1, 32)
}

// half returns a number of 16 bits.
func half(bits uint16) float64 {
	exponent, fraction := int(bits>>10&31), float64(bits&1023)
	v := math.Ldexp(fraction+1024, exponent-25)
	switch exponent {
	case 0:
		v = math.Ldexp(fraction, -24)
	case 31:
		v = math.Inf(1)
		if fraction != 0 {
			v = math.NaN()
		}
	}
	if bits>>15 != 0 {
		v = -v
	}
	return v
}

// msgpack writes the next value of MessagePack.
func (w *writer) msgpack(depth int) *Error {
	if err := w.room(depth); err != nil {
		return err
	}
	head, err := w.number(1)
	if err != nil {
		return err
	}
	c := byte(head)
	switch {
	case c < 0x80:
		w.out = strconv.AppendUint(w.out, head, 10)
		return nil
	case c < 0x90:
		return w.sized('{', head&15, depth)
	case c < 0xa0:
		return w.sized('[', head&15, depth)
	case c < 0xc0:
		return w.string(head & 31)
	case c >= 0xe0:
		w.out = strconv.AppendInt(w.out, int64(int8(c)), 10)
		return nil
	}
	switch c {
	case 0xc0:
		w.out = append(w.out, "null"...)
	case 0xc2:
		w.out = append(w.out, "false"...)
	case 0xc3:
		w.out = append(w.out, "true"...)
	case 0xc4, 0xc5, 0xc6: // bytes
		n, err := w.number(1 << (c - 0xc4))
		if err != nil {
			return err
		}
		return w.opaque(n)
	case 0xc7, 0xc8, 0xc9: // an extension
		n, err := w.number(1 << (c - 0xc7))
		if err != nil {
			return err
		}
		return w.opaque(n + 1)
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // an extension of fixed size
		return w.opaque(1<<(c-0xd4) + 1)
	case 0xca:
		v, err := w.number(4)
		w.single(uint32(v))
		return err
	case 0xcb:
		v, err := w.number(8)
		w.float(math.Float64frombits(v))
		return err
	case 0xcc, 0xcd, 0xce, 0xcf:
		v, err := w.number(1 << (c - 0xcc))
		w.out = strconv.AppendUint(w.out, v, 10)
		return err
	case 0xd0, 0xd1, 0xd2, 0xd3:
		bits := 8 << (c - 0xd0)
		v, err := w.number(bits / 8)
		w.out = strconv.AppendInt(w.out, int64(v<<(64-bits))>>(64-bits), 10)
		return err
	case 0xd9, 0xda, 0xdb:
		n, err := w.number(1 << (c - 0xd9))
		if err != nil {
			return err
		}
		return w.string(n)
	case 0xdc, 0xdd:
		n, err := w.number(2 << (c - 0xdc))
		if err != nil {
			return err
		}
		return w.sized('[', n, depth)
	case 0xde, 0xdf:
		n, err := w.number(2 << (c - 0xde))
		if err != nil {
			return err
		}
		return w.sized('{', n, depth)
	default:
		return w.fault("the first byte of a value is not known")
	}
	return nil
}

func (w *writer) sized(open byte, n uint64, depth int) *Error {
	if n > uint64(len(w.in)-w.at) {
		return w.short()
	}
	return w.many(open, int64(n), depth, w.msgpack, nil)
}

func (w *writer) string(n uint64) *Error {
	b, err := w.take(n)
	if err != nil {
		return err
	}
	return w.text(b)
}

func (w *writer) opaque(n uint64) *Error {
	b, err := w.take(n)
	if err != nil {
		return err
	}
	w.bytes(b)
	return nil
}
