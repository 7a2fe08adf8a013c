package simulation

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// Consume passes each message to the handler, one after the other, until it is
// stopped. If the reader breaks off, Consume calls the error handler and
// continues.
func (o *orderedConsumer) Consume(handler jetstream.MessageHandler, opts ...jetstream.PullConsumeOpt) (jetstream.ConsumeContext, error) {
	messages, err := o.Messages()
	if err != nil {
		return nil, err
	}
	c := &consumption{messages: messages.(*iterator), closed: make(chan struct{})}
	// Consume itself ensures that no message is missing.
	c.messages.whole = true
	for _, opt := range opts {
		if handler, ok := opt.(jetstream.ConsumeErrHandler); ok {
			c.fail = handler
		}
	}
	go c.run(handler)
	return c, nil
}

type consumption struct {
	messages *iterator
	fail     jetstream.ConsumeErrHandler
	closed   chan struct{}
}

func (c *consumption) run(handler jetstream.MessageHandler) {
	defer close(c.closed)
	for {
		msg, err := c.messages.Next()
		switch {
		case err == nil:
			handler(msg)
		case errors.Is(err, errBroken):
			if c.fail != nil {
				c.fail(c, err)
			}
		default:
			return
		}
	}
}

func (c *consumption) Stop()                   { c.messages.Stop() }
func (c *consumption) Drain()                  { c.messages.Stop() }
func (c *consumption) Closed() <-chan struct{} { return c.closed }
