package bridge

import (
	"encoding/binary"
	"errors"

	"headwater/streams"
)

// encodeAnswers packs reply subjects, in any order: the text before their numbers, once, and a
// few bits for each number. For each text that some of them begin
// with it writes its length, the text, their count, and the differences of their numbers.
// A count of 0 stands for the text without a number.
func encodeAnswers(replies []string) []byte {
	numbers := make(map[string][]int64)
	var prefixes []string
	var out []byte
	for _, reply := range replies {
		prefix, number, ok := streams.ReplyNumber(reply)
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

var errAnswers = errors.New("the answers of a message do not decode")

// decodeAnswers calls f with each reply subject.
func decodeAnswers(data []byte, f func(reply string)) error {
	for len(data) > 0 {
		length, n := binary.Uvarint(data)
		if n <= 0 || length > uint64(len(data)-n) {
			return errAnswers
		}
		prefix := string(data[n : n+int(length)])
		data = data[n+int(length):]
		count, n := binary.Uvarint(data)
		if n <= 0 || count > uint64(len(data)-n) {
			return errAnswers
		}
		data = data[n:]
		if count == 0 {
			f(prefix)
		}
		for number := int64(0); count > 0; count-- {
			difference, n := binary.Varint(data)
			if n <= 0 {
				return errAnswers
			}
			data = data[n:]
			number += difference
			f(string(streams.AppendReplyNumber([]byte(prefix), number)))
		}
	}
	return nil
}
