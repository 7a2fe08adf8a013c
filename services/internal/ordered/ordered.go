// Package ordered checks that an ordered consumer delivers every message once.
package ordered

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrOrder is returned if a message does not follow the previous one. What is read then
// is not what the stream holds.
var ErrOrder = errors.New("messages are missing or were repeated")

// Messages are the messages of an ordered consumer. It checks what nats.go promises: no
// message is missing and none is repeated. One goroutine only.
type Messages struct {
	jetstream.MessagesContext
	// consumer is the name of the current consumer on the server. Its deliveries are
	// numbered from one; next is the number of the next one. nats.go replaces a consumer
	// that was cut off with another.
	consumer string
	next     uint64
}

// Take returns the next message, and whether its consumer is a replacement.
func (m *Messages) Take(opts ...jetstream.NextOpt) (msg jetstream.Msg, meta *jetstream.MsgMetadata, replaced bool, err error) {
	msg, err = m.Next(opts...)
	if err != nil {
		return nil, nil, false, err
	}
	meta, err = msg.Metadata()
	if err != nil {
		return nil, nil, false, err
	}
	if m.consumer != meta.Consumer {
		replaced = m.consumer != ""
		m.consumer, m.next = meta.Consumer, 1
	}
	if meta.Sequence.Consumer != m.next {
		return nil, nil, false, fmt.Errorf("%w: delivery %d came instead of %d", ErrOrder, meta.Sequence.Consumer, m.next)
	}
	m.next++
	return msg, meta, replaced, nil
}
