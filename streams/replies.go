package streams

import (
	"encoding/binary"
	"errors"
)

// EncodeReplies packs reply subjects, in any order. For each text that some of them begin with
// it writes its length, the text, their count, and the differences of their numbers, which take
// a few bits each. A count of 0 stands for the text without a number.
func EncodeReplies(replies []string) []byte {
	numbers := make(map[string][]int64)
	var prefixes []string
	var out []byte
	for _, reply := range replies {
		prefix, number, ok := ReplyNumber(reply)
		if !ok {
			out = appendText(out, reply)
			out = binary.AppendUvarint(out, 0)
			continue
		}
		if numbers[prefix] == nil {
			prefixes = append(prefixes, prefix)
		}
		numbers[prefix] = append(numbers[prefix], number)
	}
	for _, prefix := range prefixes {
		out = appendText(out, prefix)
		out = binary.AppendUvarint(out, uint64(len(numbers[prefix])))
		last := int64(0)
		for _, n := range numbers[prefix] {
			out = binary.AppendVarint(out, n-last)
			last = n
		}
	}
	return out
}

func appendText(out []byte, text string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(text))), text...)
}

var errReplies = errors.New("reply subjects do not decode")

// DecodeReplies calls f with each reply subject that EncodeReplies packed.
func DecodeReplies(data []byte, f func(reply string)) error {
	for len(data) > 0 {
		length, n := binary.Uvarint(data)
		if n <= 0 || length > uint64(len(data)-n) {
			return errReplies
		}
		prefix := string(data[n : n+int(length)])
		data = data[n+int(length):]
		count, n := binary.Uvarint(data)
		if n <= 0 || count > uint64(len(data)-n) {
			return errReplies
		}
		data = data[n:]
		if count == 0 {
			f(prefix)
		}
		for number := int64(0); count > 0; count-- {
			difference, n := binary.Varint(data)
			if n <= 0 {
				return errReplies
			}
			data = data[n:]
			number += difference
			f(string(AppendReplyNumber([]byte(prefix), number)))
		}
	}
	return nil
}
