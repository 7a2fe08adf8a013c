package pipeline

import (
	"time"

	"headwater/web/view"
)

// Source is how the parts do.
type Source interface {
	// Pipeline returns the latest that is known, from memory.
	Pipeline() Pipeline
}

// Pipeline says what the parts of Headwater do.
type Pipeline struct {
	// At is when the streams were last asked; zero when that never worked.
	At time.Time `json:"at,omitzero"`
	// Rate is the number of readings a second over the last ten seconds.
	Rate float64 `json:"readings_per_second"`
	// Rates are the readings of each of the last 60 seconds, oldest first.
	Rates []float64 `json:"-"`
	// Problems list what is wrong, in words.
	Problems  []view.Problem `json:"problems"`
	Streams   []Stream       `json:"streams"`
	Consumers []Consumer     `json:"consumers"`
	Lanes     []Lane         `json:"lanes"`
	Influx    Influx         `json:"influxdb"`
	Channels  []Channel      `json:"channels"`
}

// Stream is the state of one stream.
type Stream struct {
	Name string `json:"name"`
	// Purpose says in a few words what it holds.
	Purpose  string `json:"purpose"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	// MaxBytes is the limit, 0 when there is none.
	MaxBytes  uint64    `json:"max_bytes"`
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	Consumers int       `json:"consumers"`
	// Gone counts the messages that are missing between the first and the last, for a
	// stream in which none may be missing.
	Gone uint64 `json:"gone,omitempty"`
}

// Full returns how full the stream is, between 0 and 1; 0 without a limit.
func (s Stream) Full() float64 {
	if s.MaxBytes == 0 {
		return 0
	}
	return min(1, float64(s.Bytes)/float64(s.MaxBytes))
}

// Consumer is the state of one durable consumer.
type Consumer struct {
	Stream  string `json:"stream"`
	Name    string `json:"name"`
	Purpose string `json:"purpose"`
	// Pending counts messages that were not delivered yet, Unacked those that
	// were delivered and not acknowledged, Redelivered those delivered again.
	Pending     uint64    `json:"pending"`
	Unacked     int       `json:"unacked"`
	Redelivered int       `json:"redelivered"`
	Active      time.Time `json:"active,omitzero"`
}

// Lane is the state of one lane.
type Lane struct {
	Lane int `json:"lane"`
	// Readings counts those that the dashboard has seen in the lane, Sequence
	// is the last message of it and Arrived when its last reading arrived.
	Readings uint64    `json:"readings"`
	Sequence uint64    `json:"sequence"`
	Arrived  time.Time `json:"arrived,omitzero"`
	// CaughtUp is up to when the bridge has filled the lane.
	CaughtUp time.Time `json:"caught_up,omitzero"`
	// Processed is the position of the processor's last commit, and
	// ProcessedAt when that was stored.
	Processed   uint64    `json:"processed"`
	ProcessedAt time.Time `json:"processed_at,omitzero"`
}

// Influx is the state of InfluxDB.
type Influx struct {
	URL string `json:"url"`
	// Problem is empty when InfluxDB answers.
	Problem string `json:"problem,omitempty"`
	Version string `json:"version,omitempty"`
	// CheckedAt is when it was last asked, AnsweredAt when it last answered.
	CheckedAt  time.Time     `json:"checked_at,omitzero"`
	AnsweredAt time.Time     `json:"answered_at,omitzero"`
	Latency    time.Duration `json:"-"`
}

// Channel is what became of the notifications of one channel.
type Channel struct {
	Name   string `json:"name"`
	Sent   uint64 `json:"sent"`
	Failed uint64 `json:"failed"`
	// The last one: when its outcome was known, whether it was sent, what it
	// said and why it failed.
	Last      time.Time `json:"last,omitzero"`
	LastSent  bool      `json:"last_sent"`
	LastTitle string    `json:"last_title,omitempty"`
	LastError string    `json:"last_error,omitempty"`
}
