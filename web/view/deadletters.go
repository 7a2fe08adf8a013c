package view

import (
	"net/url"
	"strconv"
)

func deadLettersURL(q DeadLetterQuery) string {
	v := url.Values{}
	if q.Service != "" {
		v.Set("service", q.Service)
	}
	if q.Reason != "" {
		v.Set("reason", q.Reason)
	}
	if q.Before > 0 {
		v.Set("before", strconv.FormatUint(q.Before, 10))
	}
	if len(v) == 0 {
		return "/deadletters"
	}
	return "/deadletters?" + v.Encode()
}

// why returns what the service said, or else what the reason means.
func why(l DeadLetter) string {
	if l.Detail != "" {
		return plain(l.Detail)
	}
	return reasonWords(l.Reason)
}

// payloadNote says how much of the original is shown, and how.
func payloadNote(l DeadLetter) string {
	note := FormatBytes(uint64(max(0, l.Size)))
	_, isText := payloadText(l.Payload)
	shown := len(l.Payload)
	if !isText {
		note += ", as hexadecimal bytes"
		shown = min(shown, hexBytes)
	}
	if shown < l.Size {
		note += ", the first " + FormatBytes(uint64(shown)) + " shown"
	}
	return note
}
