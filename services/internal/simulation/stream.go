package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/streams"
)

// Cluster keeps streams, buckets and objects as nats-server does. It is safe
// for concurrent use.
type Cluster struct {
	// These fields break promises of nats-server; a simulation must be seen to
	// fail on each. Set them before the cluster is used.
	//
	// IgnoreExpected disables compare-and-set. SkipEvery never delivers one of
	// that many messages. ForgetEvery acknowledges one of that many messages of a
	// stream, not of a bucket, without storing it. IgnoreReset leaves a durable
	// consumer where it is when it is set back.
	IgnoreExpected, IgnoreReset bool
	SkipEvery, ForgetEvery      uint64

	mu      sync.Mutex
	streams map[string]*stream
	objects map[string]map[string][]byte
	// archive is everything that was ever stored in each stream.
	archive map[string][]Stored
	// created is closed, and replaced, when a stream is created.
	created chan struct{}
	// made counts the streams, so that no two are created at the same time.
	made int64
	// down says that no server runs, full that it cannot write to its disk.
	down, full bool
	// publishing are the calls of PublishMsgAsync that have not ended. A process that
	// ended does not wait for them.
	publishing sync.WaitGroup
}

// NewCluster returns a cluster without streams.
func NewCluster() *Cluster {
	return &Cluster{
		streams: make(map[string]*stream), objects: make(map[string]map[string][]byte),
		archive: make(map[string][]Stored), created: make(chan struct{}),
	}
}

// stream is guarded by the mutex of its cluster.
type stream struct {
	cfg     jetstream.StreamConfig
	created time.Time
	// messages are the messages kept, in order; last is the highest sequence ever.
	messages []*message
	last     uint64
	durables map[string]*durable
	// cuts counts how often the end was lost.
	cuts int
	// changed is closed, and replaced, when a message is stored or the stream is
	// deleted.
	changed chan struct{}
}

type message struct {
	subject  string
	header   nats.Header
	data     []byte
	sequence uint64
	stored   time.Time
}

func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// find returns the stream with that name, after it has removed what is too old.
func (c *Cluster) find(name string) (*stream, error) {
	s := c.streams[name]
	if s == nil {
		return nil, jetstream.ErrStreamNotFound
	}
	if age := s.cfg.MaxAge; age > 0 {
		now := time.Now()
		s.messages = slices.DeleteFunc(s.messages, func(m *message) bool { return !m.stored.Add(age + expiryLag).After(now) })
	}
	return s, nil
}

// ensure creates a stream, or changes the configuration of an existing one.
func (c *Cluster) ensure(cfg jetstream.StreamConfig) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[cfg.Name]
	if s == nil {
		c.made++
		s = &stream{created: time.Now().Add(time.Duration(c.made)).UTC(), changed: make(chan struct{}), durables: make(map[string]*durable)}
		c.streams[cfg.Name] = s
		close(c.created)
		c.created = make(chan struct{})
	}
	s.cfg = cfg
}

// SetDown stops the server, or starts it again: until then every call fails. What it
// has stored is there afterwards; what it kept in memory, DropBucket takes away.
func (c *Cluster) SetDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// SetFull fills the disk of the server, or clears it: until then nothing that is
// published to a stream is stored or answered.
func (c *Cluster) SetFull(full bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = full
}

// state returns the fault of a call that the server itself causes.
func (c *Cluster) state(kind string) fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.down:
		return refused
	case c.full && kind == kindPublish:
		return lost
	}
	return none
}

// expiryLag is how much longer than its MaxAge a message may stay: nats-server looks
// for those that are too old no more than four times a second.
const expiryLag = 250 * time.Millisecond

// Recreate deletes a stream and creates it again, empty.
func (c *Cluster) Recreate(name string) {
	c.mu.Lock()
	s := c.streams[name]
	c.remove(s)
	c.mu.Unlock()
	c.ensure(s.cfg)
}

// Cut removes up to n messages from the end of a stream, as a power cut does
// before they are on the disk. The sequences are assigned again. After that
// nats-server restarts: durable consumers resume at the new end, and what
// ordered consumers hold on the server is recreated.
func (c *Cluster) Cut(name string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[name]
	left := len(s.messages) - min(n, len(s.messages))
	if left < len(s.messages) {
		s.last = s.messages[left].sequence - 1
	}
	s.messages = s.messages[:left:left]
	s.cuts++
	for _, d := range s.durables {
		if d.next > s.last+1 {
			d.set(min(d.floor.Stream, s.last) + 1)
		}
	}
	s.wake()
}

// remove deletes a stream with its consumers.
func (c *Cluster) remove(s *stream) {
	delete(c.streams, s.cfg.Name)
	for _, d := range s.durables {
		d.gone = true
	}
	s.wake()
}

// forSubject returns the stream that takes the subject, or nil.
func (c *Cluster) forSubject(subject string) *stream {
	for name, s := range c.streams {
		if slices.ContainsFunc(s.cfg.Subjects, func(filter string) bool { return streams.Matches(filter, subject) }) {
			s, _ = c.find(name)
			return s
		}
	}
	return nil
}

// Error codes of nats-server.
const (
	codeWrongLast   jetstream.ErrorCode = 10071
	codeStoreFailed jetstream.ErrorCode = 10077
)

// store stores a message and returns its position.
func (c *Cluster) store(m *nats.Msg) (*jetstream.PubAck, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.forSubject(m.Subject)
	if s == nil {
		return nil, jetstream.ErrNoStreamResponse
	}
	if id := m.Header.Get(jetstream.MsgIDHeader); id != "" {
		if before := s.duplicate(id); before != nil {
			return &jetstream.PubAck{Stream: s.cfg.Name, Sequence: before.sequence, Duplicate: true}, nil
		}
	}
	if text := m.Header.Get(jetstream.ExpectedLastSubjSeqHeader); text != "" && !c.IgnoreExpected {
		expected, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, err
		}
		if last := s.lastOf(m.Subject); last != expected {
			return nil, &jetstream.APIError{Code: 400, ErrorCode: codeWrongLast, Description: fmt.Sprintf("wrong last sequence: %d", last)}
		}
	}
	if s.cfg.Discard == jetstream.DiscardNew && s.cfg.MaxBytes > 0 && s.bytes()+size(m.Subject, m.Header, m.Data) > uint64(s.cfg.MaxBytes) {
		return nil, &jetstream.APIError{Code: 503, ErrorCode: codeStoreFailed, Description: "maximum bytes exceeded"}
	}
	s.last++
	if c.ForgetEvery > 0 && s.last%c.ForgetEvery == 0 && !strings.HasPrefix(s.cfg.Name, bucketStream("")) {
		return &jetstream.PubAck{Stream: s.cfg.Name, Sequence: s.last}, nil
	}
	s.messages = append(s.messages, &message{
		subject: m.Subject, header: maps.Clone(m.Header), data: slices.Clone(m.Data), sequence: s.last, stored: time.Now().UTC(),
	})
	if keep := s.cfg.MaxMsgsPerSubject; keep > 0 {
		s.keep(m.Subject, int(keep))
	}
	c.archive[s.cfg.Name] = append(c.archive[s.cfg.Name], s.messages[len(s.messages)-1].asStored(s.created))
	s.wake()
	return &jetstream.PubAck{Stream: s.cfg.Name, Sequence: s.last}, nil
}

// duplicate returns the message with that id if it came within the last two
// minutes, nats-server's default.
func (s *stream) duplicate(id string) *message {
	for _, m := range slices.Backward(s.messages) {
		if m.header.Get(jetstream.MsgIDHeader) == id && time.Since(m.stored) < 2*time.Minute {
			return m
		}
	}
	return nil
}

// lastOf returns the sequence of the last kept message of a subject, or 0.
func (s *stream) lastOf(subject string) uint64 {
	if m := s.lastMessage(subject); m != nil {
		return m.sequence
	}
	return 0
}

func (s *stream) lastMessage(subject string) *message {
	wild := strings.HasSuffix(subject, ">")
	for _, m := range slices.Backward(s.messages) {
		if m.subject == subject || wild && streams.Matches(subject, m.subject) {
			return m
		}
	}
	return nil
}

// keep removes all but the last n messages of the subject.
func (s *stream) keep(subject string, n int) {
	excess := -n
	for _, m := range s.messages {
		if m.subject == subject {
			excess++
		}
	}
	s.messages = slices.DeleteFunc(s.messages, func(m *message) bool {
		if m.subject != subject || excess <= 0 {
			return false
		}
		excess--
		return true
	})
}

// next returns the first message at or after the sequence that matches a
// filter, or nil; no filter means all.
func (s *stream) next(from uint64, filters []string) *message {
	i, _ := slices.BinarySearchFunc(s.messages, from, func(m *message, n uint64) int {
		switch {
		case m.sequence < n:
			return -1
		case m.sequence > n:
			return 1
		}
		return 0
	})
	for _, m := range s.messages[i:] {
		if len(filters) == 0 || slices.ContainsFunc(filters, func(filter string) bool { return streams.Matches(filter, m.subject) }) {
			return m
		}
	}
	return nil
}

// since returns the first sequence that was stored at t or later.
func (s *stream) since(t time.Time) uint64 {
	for _, m := range s.messages {
		if !m.stored.Before(t) {
			return m.sequence
		}
	}
	return s.last + 1
}

// pending returns the number of messages that next would return.
func (s *stream) pending(from uint64, filters []string) uint64 {
	n := uint64(0)
	for m := s.next(from, filters); m != nil; m = s.next(m.sequence+1, filters) {
		n++
	}
	return n
}

func size(subject string, header nats.Header, data []byte) uint64 {
	n := len(subject) + len(data) + 22
	for key, values := range header {
		n += len(key) + len(strings.Join(values, "")) + 4
	}
	return uint64(n)
}

func (s *stream) bytes() uint64 {
	n := uint64(0)
	for _, m := range s.messages {
		n += size(m.subject, m.header, m.data)
	}
	return n
}

func (s *stream) info() *jetstream.StreamInfo {
	state := jetstream.StreamState{Msgs: uint64(len(s.messages)), Bytes: s.bytes(), FirstSeq: s.last + 1, LastSeq: s.last}
	if s.last == 0 {
		state.FirstSeq = 0
	}
	if len(s.messages) > 0 {
		first, last := s.messages[0], s.messages[len(s.messages)-1]
		state.FirstSeq, state.FirstTime, state.LastTime = first.sequence, first.stored, last.stored
	}
	return &jetstream.StreamInfo{Config: s.cfg, Created: s.created, State: state, TimeStamp: time.Now()}
}

// purge removes what is before the sequence; 0 means everything.
func (s *stream) purge(before uint64) {
	s.messages = slices.DeleteFunc(s.messages, func(m *message) bool { return before == 0 || m.sequence < before })
}

// Stored is a message as a stream keeps it.
type Stored struct {
	// Incarnation is when the stream was created.
	Incarnation time.Time
	Subject     string
	Sequence    uint64
	Time        time.Time
	Header      nats.Header
	Data        []byte
}

func (m *message) asStored(incarnation time.Time) Stored {
	return Stored{Incarnation: incarnation, Subject: m.subject, Sequence: m.sequence, Time: m.stored, Header: m.header, Data: m.data}
}

// Archive returns everything that was ever stored in the stream and matches the
// filter, in order, whatever has been removed since.
func (c *Cluster) Archive(name, filter string) []Stored {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Stored
	for _, m := range c.archive[name] {
		if streams.Matches(filter, m.Subject) {
			all = append(all, m)
		}
	}
	return all
}

// LastOf returns the last message of a subject that its stream keeps.
func (c *Cluster) LastOf(subject string) (Stored, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.forSubject(subject)
	if s == nil {
		return Stored{}, false
	}
	m := s.lastMessage(subject)
	if m == nil {
		return Stored{}, false
	}
	return m.asStored(s.created), true
}

// DropBucket empties a bucket, as the restart of a server does that keeps it in
// memory.
func (c *Cluster) DropBucket(bucket string) { c.Recreate(bucketStream(bucket)) }

// Objects returns the names in an object store, in order.
func (c *Cluster) Objects(bucket string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.objects[bucket]))
}

// Damage replaces the content of an object; nil removes it.
func (c *Cluster) Damage(bucket, name string, damage func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.objects[bucket][name]
	if !ok {
		return
	}
	data = damage(slices.Clone(data))
	if data == nil {
		delete(c.objects[bucket], name)
		return
	}
	c.objects[bucket][name] = data
}

// Kept returns what a stream keeps and matches the filter, in order.
func (c *Cluster) Kept(name, filter string) []Stored {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.find(name)
	if err != nil {
		return nil
	}
	var all []Stored
	for m := s.next(0, []string{filter}); m != nil; m = s.next(m.sequence+1, []string{filter}) {
		all = append(all, m.asStored(s.created))
	}
	return all
}
