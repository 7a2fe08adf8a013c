package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"headwater/services/internal/process"
)

// Poster sends batches over HTTP. It repeats each until it is acknowledged.
type Poster struct {
	URL   string
	In    <-chan Reading
	Acked func(Reading)
	// Refused is called with responses that no retry can change.
	Refused func(string)
	Client  *http.Client
}

const (
	batchReadings = 50
	batchWait     = 50 * time.Millisecond
)

// Run sends until In is closed and everything is acknowledged, or ctx ends.
func (p *Poster) Run(ctx context.Context) {
	for {
		first, more := <-p.In
		if !more {
			return
		}
		batch := []Reading{first}
		wait := time.After(batchWait)
	gather:
		for len(batch) < batchReadings {
			select {
			case r, more := <-p.In:
				if !more {
					break gather
				}
				batch = append(batch, r)
			case <-wait:
				break gather
			}
		}
		if !p.deliver(ctx, batch) {
			return
		}
	}
}

func (p *Poster) deliver(ctx context.Context, batch []Reading) bool {
	type item struct {
		Site   string  `json:"site"`
		Device string  `json:"device"`
		Metric string  `json:"metric"`
		Value  float64 `json:"value"`
		Time   int64   `json:"ts"`
	}
	items := make([]item, len(batch))
	for i, r := range batch {
		items[i] = item{Site, r.Series.Device, r.Series.Metric, r.Value, r.Time}
	}
	body, err := json.Marshal(items)
	if err != nil {
		p.Refused(err.Error())
		return false
	}
	for ctx.Err() == nil {
		status, answer := p.post(ctx, body)
		switch {
		case status == http.StatusAccepted:
			for _, r := range batch {
				p.Acked(r)
			}
			return true
		case status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
			p.Refused(fmt.Sprintf("POST answered %d: %s", status, answer))
			return true
		}
		process.Sleep(ctx, reconnect)
	}
	return false
}

// post returns the status, or 0 if there was no response.
func (p *Poster) post(ctx context.Context, body []byte) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.Client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return resp.StatusCode, string(answer)
}
