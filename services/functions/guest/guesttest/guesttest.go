// Package guesttest builds a function for tests, once for a test binary.
package guesttest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"headwater/services/functions/guest"
)

// source behaves as the first text of its input that begins with "do " says, and counts what
// has none, such as the times of a schedule. It needs little of
// Go's library, so that it is built and compiled fast.
const source = `//go:build wasip1

package main

import "unsafe"

//go:wasmimport headwater input
func hostInput(at unsafe.Pointer, size uint32)

//go:wasmimport headwater output
func hostOutput(at unsafe.Pointer, size uint32)

//go:wasmimport headwater log
func hostLog(at unsafe.Pointer, size uint32)

//go:wasmimport headwater get
func hostGet(key unsafe.Pointer, size uint32, at unsafe.Pointer, room uint32) int32

//go:wasmimport headwater set
func hostSet(key unsafe.Pointer, size uint32, at unsafe.Pointer, length uint32)

func pointer(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

func output(b []byte) { hostOutput(pointer(b), uint32(len(b))) }

var (
	in   []byte
	held [][]byte
)

func find(text string) int {
	for i := 0; i+len(text) <= min(len(in), 300); i++ {
		if string(in[i:i+len(text)]) == text {
			return i
		}
	}
	return -1
}

func count(text string) (n int) {
	for i := 0; i+len(text) <= len(in); i++ {
		if in[i] == text[0] && string(in[i:i+len(text)]) == text {
			n++
		}
	}
	return n
}

//go:wasmexport handle
func handle(size uint32) uint32 {
	if int(size) > cap(in) {
		in = make([]byte, size)
	}
	in = in[:size]
	hostInput(pointer(in), size)
	const mark = ":\"do "
	what := byte('c')
	if at := find(mark); at >= 0 {
		what = in[at+len(mark)]
	} else if find("{\"schedule\"") != 0 {
		return 0
	}
	switch what {
	case 'l': // loop
		for {
		}
	case 'a': // allocate
		for {
			held = append(held, make([]byte, 1<<20))
		}
	case 'w': // write
		line := make([]byte, 1<<10)
		for {
			output(line)
		}
	case 'p': // panic
		var none []int
		_ = none[size]
	case 'f': // fail
		return 7
	case 'x': // what nobody can read
		output([]byte("{"))
	case 'r': // reply
		output([]byte("{\"reply\":{\"status\":201,\"body\":\"hi\"}}"))
	case 's': // say
		line := []byte("hello")
		hostLog(pointer(line), uint32(len(line)))
	case 'k': // keep too much
		key, value := []byte("k"), make([]byte, 1<<19)
		hostSet(pointer(key), 1, pointer(value), uint32(len(value)))
	case 'o': // out of its memory
		hostOutput(unsafe.Pointer(uintptr(0xfffffff0)), 64)
	case 'c', 'd': // count the calls, and answer one reading for each in the batch
		key, value := []byte("calls"), make([]byte, 8)
		hostGet(pointer(key), uint32(len(key)), pointer(value), 8)
		out := []byte("{\"readings\":[")
		for n := count("\"time\":"); n > 0; n-- {
			for i := 7; i >= 0; i-- { // decimal
				if value[i] == 0 {
					value[i] = '0'
				}
			}
			for i := 7; i >= 0; i-- {
				if value[i]++; value[i] <= '9' {
					break
				}
				value[i] = '0'
			}
			out = append(out, "{\"device\":\"counter\",\"site\":\"s\",\"metric\":\"total\",\"value\":1"...)
			out = append(out, value...)
			out = append(out, "},"...)
		}
		out[len(out)-1] = ']'
		out = append(out, '}')
		hostSet(pointer(key), uint32(len(key)), pointer(value), 8)
		output(out)
	}
	return 0
}

func main() {}
`

var built = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	for name, text := range map[string]string{"main.go": source, "go.mod": "module guest\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	out := filepath.Join(folder, "guest.wasm")
	if err := guest.Build(context.Background(), folder, out); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

// Code returns the module.
func Code(tb testing.TB) []byte {
	tb.Helper()
	code, err := built()
	if err != nil {
		tb.Fatal(err)
	}
	return code
}
