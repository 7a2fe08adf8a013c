package streams_test

import (
	"math"
	"slices"
	"testing"

	"headwater/streams"
)

// TestReplies packs reply subjects of servers and fronts, and one without a number.
func TestReplies(t *testing.T) {
	t.Parallel()
	front, server := streams.MQTTAnswersTo("ABC"), "$MQTT.JSA.server.MS.ABCDEFGHIJKL"
	number := func(before string, n int64) string { return string(streams.AppendReplyNumber([]byte(before), n)) }
	replies := []string{number(front, 7), number(server, 800), "_INBOX.a", number(front, 3), number(front, 839299365868340223), number(server, 801)}
	body := streams.EncodeReplies(replies)
	var got []string
	if err := streams.DecodeReplies(body, func(r string) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(replies)
	if !slices.Equal(got, replies) {
		t.Errorf("%q, want %q", got, replies)
	}
	for n := range body {
		got = nil
		if err := streams.DecodeReplies(body[:n], func(r string) { got = append(got, r) }); err == nil && len(got) == len(replies) {
			t.Errorf("%d of %d bytes hold everything", n, len(body))
		}
	}
	hostile := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}
	if err := streams.DecodeReplies(hostile, func(string) {}); err == nil {
		t.Error("a length beyond the end decodes")
	}
}

// TestStoredTogether tells the answers of fronts from nats-server's own.
func TestStoredTogether(t *testing.T) {
	t.Parallel()
	front := streams.MQTTAnswersTo("ABC")
	before, n, ok := streams.ReplyNumber(string(streams.AppendReplyNumber([]byte(front), math.MaxInt32)))
	if before != front || n != math.MaxInt32 || !ok {
		t.Fatal(before, n, ok)
	}
	all, ok := streams.MQTTStoredTogether(before)
	if !ok || !streams.IsStoredTogether(all) || streams.IsStoredTogether(front+"0000000001") {
		t.Error(all, ok)
	}
	if _, _, ok := streams.ReplyNumber(all); ok {
		t.Errorf("%s ends in a number", all)
	}
	if all, ok := streams.MQTTStoredTogether("$MQTT.JSA.server.MS.ABCDEFGHIJKL"); ok {
		t.Error(all)
	}
}
