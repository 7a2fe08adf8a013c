package decode

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// tokens reads one JSON text token by token.
type tokens struct {
	dec   jsontext.Decoder
	buf   bytes.Buffer
	input []byte
	plain []byte
	// escaped reports whether the last text had escapes.
	escaped bool
}

func (t *tokens) reset(input []byte) {
	// The decoder reads a bytes.Buffer in place and does not write to it.
	t.input, t.buf = input, *bytes.NewBuffer(input)
	t.dec.Reset(&t.buf)
}

// kind returns the kind of the next token; at an error or the end, one that no
// token has.
func (t *tokens) kind() jsontext.Kind { return t.dec.PeekKind() }

// next reads over a token.
func (t *tokens) next() *Error {
	if _, err := t.dec.ReadToken(); err != nil {
		return t.fault(err)
	}
	return nil
}

// value reads a number in its original spelling.
func (t *tokens) value() ([]byte, *Error) {
	v, err := t.dec.ReadValue()
	if err != nil {
		return nil, t.fault(err)
	}
	return v, nil
}

// skip reads over a value.
func (t *tokens) skip() *Error {
	if err := t.dec.SkipValue(); err != nil {
		return t.fault(err)
	}
	return nil
}

// text reads a string or a key, without quotes and escapes. The result is valid
// until the next call of any method.
func (t *tokens) text() ([]byte, *Error) {
	v, err := t.value()
	if err != nil {
		return nil, err
	}
	t.escaped = bytes.IndexByte(v, '\\') >= 0
	if !t.escaped {
		return v[1 : len(v)-1], nil
	}
	// The decoder has verified the escapes.
	t.plain, _ = jsontext.AppendUnquote(t.plain[:0], v)
	return t.plain, nil
}

// end verifies that nothing follows.
func (t *tokens) end() *Error {
	_, err := t.dec.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return t.fault(err)
	}
	return t.invalid(t.dec.InputOffset(), "something follows the first value")
}

// fault says where and why the input is not JSON.
func (t *tokens) fault(err error) *Error {
	offset := t.dec.InputOffset()
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset = syntax.ByteOffset
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return t.invalid(int64(len(t.input)), "it ends too early")
	case errors.Is(err, jsontext.ErrDuplicateName):
		return t.invalid(offset, "the key "+quote(syntax.JSONPointer.LastToken())+" occurs twice")
	case syntax == nil:
		return t.invalid(offset, err.Error())
	}
	if first, last := wordAround(t.input, int(offset)); notFinite(string(t.input[first:last])) {
		word := string(t.input[first:last])
		out := t.invalid(offset, "")
		out.at = int(offset)
		out.Reason, out.Field = ReasonValue, string(syntax.JSONPointer.LastToken())
		if len(out.Field) > longestToken {
			out.Field = ""
		}
		out.Detail = word + " is not a number that can be stored"
		return out
	}
	return t.invalid(offset, strings.TrimPrefix(syntax.Err.Error(), "jsontext: "))
}

// invalid reports a fault of the JSON at a byte of the input.
func (t *tokens) invalid(offset int64, what string) *Error {
	before := t.input[:min(offset, int64(len(t.input)))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := len(before) - bytes.LastIndexByte(before, '\n')
	out := refuse("", "it is not valid JSON at line %d, column %d: %s", line, column, what)
	out.Line, out.Column, out.whole = line, column, true
	return out
}

// wordAround returns where the bare word around a byte of the input begins and ends.
func wordAround(input []byte, offset int) (first, last int) {
	const most = 16
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '+' }
	first, last = offset, offset
	for first > 0 && offset-first < most && letter(input[first-1]) {
		first--
	}
	for last < len(input) && last-offset < most && letter(input[last]) {
		last++
	}
	return first, last
}

// names returns one shared string for each spelling of a metric, device or
// unit, because they come again and again.
type names struct {
	known map[string]string
}

// mostNames bounds the memory of names against ever new spellings.
const mostNames = 4096

func (n *names) get(b []byte) string {
	if s, ok := n.known[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(b) > longestToken {
		return s
	}
	if n.known == nil {
		n.known = make(map[string]string)
	}
	if len(n.known) >= mostNames {
		clear(n.known)
	}
	n.known[s] = s
	return s
}
