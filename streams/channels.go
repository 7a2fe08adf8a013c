package streams

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ChannelTests is where the notifier that sends takes requests to send a test. No stream
// keeps them.
const ChannelTests = "channels.test"

// ChannelTestWithin bounds how long a test takes.
const ChannelTestWithin = 15 * time.Second

// ChannelTest asks for a message that says that it is a test.
type ChannelTest struct {
	// Channel is the name of a channel that is in force.
	Channel string `json:"channel"`
	// Device is the id of the only device of a channel of type webpush that gets the test;
	// empty for all.
	Device string `json:"device,omitempty"`
	// Report asks for the morning report as it is now instead.
	Report bool `json:"report,omitempty"`
}

// Encode is the body of the message that carries the request to ChannelTests.
func (t ChannelTest) Encode() ([]byte, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("encode the test of a channel: %w", err)
	}
	return data, nil
}

// DecodeChannelTest undoes ChannelTest.Encode. The names are valid tokens.
func DecodeChannelTest(data []byte) (ChannelTest, error) {
	var t ChannelTest
	if err := json.Unmarshal(data, &t); err != nil {
		return t, fmt.Errorf("decode the test of a channel: %w", err)
	}
	if !ValidToken(t.Channel) || t.Device != "" && !ValidToken(t.Device) {
		return t, errors.New("decode the test of a channel: a name is not a token")
	}
	return t, nil
}

// ChannelTested is the answer to a ChannelTest.
type ChannelTested struct {
	// Error says why the other side did not take it, with its answer; empty if it took it.
	Error string `json:"error,omitempty"`
}
