package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"headwater/services/decode"
	"headwater/services/internal/process"
	"headwater/services/internal/quota"
	"headwater/streams"
)

// quotas are the quotas of all senders: of each device, and of each address. This machine
// has none, because a proxy here would make all senders one.
type quotas struct {
	devices   *quota.Rate[quota.Device]
	addresses *quota.Rate[netip.Prefix]
	series    *quota.Series
}

func newQuotas(c Config) quotas {
	return quotas{quota.NewRate[quota.Device](c.DeviceRate), quota.NewRate[netip.Prefix](c.AddressRate), quota.NewSeries(c.NewSeries)}
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
	if wait := q.addresses.Wait(from, now); wait > 0 {
		return tooMany(reasonAddressRate, "the address "+from.Addr().String(), q.addresses.PerSecond(), wait)
	}
	return nil
}

// fromDevices returns why a request is refused because of what one of its devices has sent,
// or nil. The request is refused as a whole: an item that is refused alone would be lost.
func (q quotas) fromDevices(items []decode.Item, now time.Time) *fault {
	for _, item := range items {
		of := quota.Device{Site: item.Site, Device: item.Device}
		if wait := q.devices.Wait(of, now); wait > 0 {
			f := tooMany(reasonDeviceRate, "device "+item.Site+"/"+item.Device, q.devices.PerSecond(), wait)
			f.of = of
			return f
		}
	}
	return nil
}

// begin refuses the readings of metrics that a device may not begin, and calls inventor with
// the device. What else is in their item stays, beside an item of the same index that says
// what is refused.
func (q quotas) begin(items []decode.Item, now time.Time, inventor func(quota.Device)) []decode.Item {
	for i := range items {
		item := &items[i]
		if item.Err != nil {
			continue
		}
		of, kept, refused := quota.Device{Site: item.Site, Device: item.Device}, item.Readings[:0], ""
		for _, r := range item.Readings {
			if q.series.Begin(of, r.Metric, now) {
				kept = append(kept, r)
			} else if refused == "" {
				refused = r.Metric
			}
		}
		item.Readings = kept
		if refused == "" {
			continue
		}
		inventor(of)
		why := &decode.Error{Reason: streams.ReasonNewSeries, Field: refused, Detail: fmt.Sprintf("the device has begun %d metrics within a day, and may begin no more", q.series.Most())}
		if len(kept) == 0 {
			item.Err = why
			continue
		}
		items = append(items, decode.Item{Index: item.Index, Site: item.Site, Device: item.Device, Err: why})
	}
	return items
}

// charge counts the items of a request that were stored.
func (q quotas) charge(remote string, items []decode.Item, now time.Time) {
	sent, all := make(map[quota.Device]int), 0
	for _, item := range items {
		sent[quota.Device{Site: item.Site, Device: item.Device}] += len(item.Readings)
		all += len(item.Readings)
	}
	for d, readings := range sent {
		q.devices.Charge(d, readings, now)
	}
	if from := process.Network(remote); from.IsValid() {
		q.addresses.Charge(from, all, now)
	}
}

func tooMany(reason, who string, rate float64, wait time.Duration) *fault {
	return &fault{
		status: http.StatusTooManyRequests, retry: wait.Truncate(time.Second) + time.Second, Reason: reason,
		Error: fmt.Sprintf("%s has sent more than %.0f readings a second", who, rate),
	}
}
