package bridge

import (
	"encoding/binary"
	"errors"
	"strings"
)

// A reply subject of nats-server ends in a number of replyDigits digits that grows with
// each message of the server. So the reply subjects of a round are written as the text
// before the number, once, and a few bits for each number.
const (
	replyDigits  = 10
	replyLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// encodeAnswers packs reply subjects, in any order. For each text that some of them begin
// with it writes its length, the text, their count, and the differences of their numbers.
// A count of 0 stands for the text without a number.
func encodeAnswers(replies []string) []byte {
	numbers := make(map[string][]int64)
	var prefixes []string
	var out []byte
	for _, reply := range replies {
		prefix, number, ok := splitReply(reply)
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

// splitReply returns the text that a reply subject begins with and the number that it ends
// in. ok is false when it does not end in a number.
func splitReply(reply string) (prefix string, number int64, ok bool) {
	if len(reply) <= replyDigits {
		return "", 0, false
	}
	cut := len(reply) - replyDigits
	for i := cut; i < len(reply); i++ {
		digit := strings.IndexByte(replyLetters, reply[i])
		if digit < 0 {
			return "", 0, false
		}
		number = number*int64(len(replyLetters)) + int64(digit)
	}
	return reply[:cut], number, true
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
			f(joinReply(prefix, number))
		}
	}
	return nil
}

func joinReply(prefix string, number int64) string {
	reply := append(make([]byte, 0, len(prefix)+replyDigits), prefix...)
	reply = append(reply, strings.Repeat(replyLetters[:1], replyDigits)...)
	for i := len(reply) - 1; i >= len(prefix) && number > 0; i-- {
		reply[i] = replyLetters[number%int64(len(replyLetters))]
		number /= int64(len(replyLetters))
	}
	return string(reply)
}
