package front

import (
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/services/bridge/escape"
	"headwater/streams"
)

// Store gives the bridges messages that do not come from a client of a Front, in the same way
// as those with QoS 1 that do: those who listen hear them too, and each is answered when it is
// stored. Any number of goroutines may use it.
type Store struct{ direct *direct }

// NewStore returns a store on a connection to the account of the devices, which counts its
// messages.
func NewStore(nc *nats.Conn, count prometheus.Counter) *Store {
	return &Store{newDirect(nc, count)}
}

// Listen hears answers until stop is called, which waits for what it began. It must be called
// once, before Publish.
func (s *Store) Listen() (stop func(), err error) { return s.direct.listen() }

var errCommand = errors.New("commands are for services alone")

// Publish publishes a message on a topic without wildcards. If it returns nil, done is called
// once: with nil when the message is stored, else with the reason why it is not known to be
// stored, at the latest soon after streams.AnswerTimeout. done must return at once.
func (s *Store) Publish(topic string, payload []byte, done func(error)) error {
	subject := streams.SubjectFromTopic(string(escape.Topic(nil, []byte(topic))))
	stored := streams.MQTTStoredSubject(subject)
	if streams.IsCommand(stored) {
		return errCommand
	}
	return s.direct.publish(route{subject, stored}, payload, &delivery{session: told(done), sent: time.Now()})
}

// told is the owner of a message of a Store.
type told func(error)

func (f told) owes(*delivery) { f(nil) }

func (f told) fail(why error) { f(why) }
