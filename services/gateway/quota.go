package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"headwater/services/decode"
	"headwater/services/internal/process"
)

// quotaMost bounds the senders that a quota remembers.
const quotaMost = 20_000

// quota bounds how many readings each sender may have stored: rate a second on average,
// and before that a burst of burstSeconds times as many. A sender that has used up its
// burst must wait until it has paid for what it sent. So a batch of any size is taken as a
// whole, and what follows waits the longer. It is safe for concurrent use.
type quota[K comparable] struct {
	rate float64 // readings a second; 0 sets no bound

	mu sync.Mutex
	// paid is the time at which a sender has its whole burst again.
	paid map[K]time.Time // guarded by mu
}

// burstSeconds is how many seconds of its rate a sender may send at once. Devices that
// were away send what they kept.
const burstSeconds = 20

func newQuota[K comparable](rate int) *quota[K] {
	return &quota[K]{rate: float64(rate), paid: make(map[K]time.Time)}
}

// wait returns how long the sender must wait before it may send again; 0 if it need not.
func (q *quota[K]) wait(sender K, now time.Time) time.Duration {
	if q.rate == 0 {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return max(0, q.paid[sender].Add(-burstSeconds*time.Second).Sub(now))
}

// charge counts readings of a sender.
func (q *quota[K]) charge(sender K, readings int, now time.Time) {
	if q.rate == 0 || readings == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	paid, known := q.paid[sender]
	if paid.Before(now) {
		paid = now
	}
	if !known {
		q.makeRoom(now)
	}
	q.paid[sender] = paid.Add(time.Duration(float64(readings) / q.rate * float64(time.Second)))
}

// makeRoom forgets the senders that have their whole burst, and if those are few, others:
// enough of them that it is not called for each new one. The caller holds the lock.
func (q *quota[K]) makeRoom(now time.Time) {
	if len(q.paid) < quotaMost {
		return
	}
	for s, paid := range q.paid {
		if !paid.After(now) {
			delete(q.paid, s)
		}
	}
	for s := range q.paid {
		if len(q.paid) < quotaMost/4*3 {
			return
		}
		delete(q.paid, s)
	}
}

// device names a device in a quota.
type device struct{ site, name string }

// quotas are the quotas of all senders: of each device, and of each address. This machine
// has none, because a proxy here would make all senders one.
type quotas struct {
	devices   *quota[device]
	addresses *quota[netip.Prefix]
}

func newQuotas(c Config) quotas {
	return quotas{newQuota[device](c.DeviceRate), newQuota[netip.Prefix](c.AddressRate)}
}

// Reasons why a request is refused for its quota.
const (
	reasonDeviceRate  = "device-rate"
	reasonAddressRate = "address-rate"
)

// fromAddress returns why a request is refused because of what its address has sent, or
// nil. It is asked before the body is read.
func (q quotas) fromAddress(remote string, now time.Time) *fault {
	from := process.Network(remote)
	if !from.IsValid() {
		return nil
	}
	if wait := q.addresses.wait(from, now); wait > 0 {
		return tooMany(reasonAddressRate, "the address "+from.Addr().String(), q.addresses.rate, wait)
	}
	return nil
}

// fromDevices returns why a request is refused because of what one of its devices has sent,
// or nil. The request is refused as a whole: an item that is refused alone would be lost.
func (q quotas) fromDevices(items []decode.Item, now time.Time) *fault {
	for _, item := range items {
		if wait := q.devices.wait(device{item.Site, item.Device}, now); wait > 0 {
			return tooMany(reasonDeviceRate, "device "+item.Site+"/"+item.Device, q.devices.rate, wait)
		}
	}
	return nil
}

// charge counts the items of a request that were stored.
func (q quotas) charge(remote string, items []decode.Item, now time.Time) {
	sent, all := make(map[device]int), 0
	for _, item := range items {
		sent[device{item.Site, item.Device}] += len(item.Readings)
		all += len(item.Readings)
	}
	for d, readings := range sent {
		q.devices.charge(d, readings, now)
	}
	if from := process.Network(remote); from.IsValid() {
		q.addresses.charge(from, all, now)
	}
}

func tooMany(reason, who string, rate float64, wait time.Duration) *fault {
	return &fault{
		status: http.StatusTooManyRequests, retry: wait.Truncate(time.Second) + time.Second, Reason: reason,
		Error: fmt.Sprintf("%s has sent more than %.0f readings a second", who, rate),
	}
}
