package dashboard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/dashboard/fleet"
	"headwater/services/internal/audit"
	"headwater/services/internal/influx"
	"headwater/services/internal/process"
	"headwater/services/internal/registry"
	"headwater/streams"
	registrypages "headwater/web/registry"
	"headwater/web/view"
)

const (
	// maxGone bounds the removed devices that are remembered, maxFormer those that one
	// device continues.
	maxGone   = 10_000
	maxFormer = 8
	// eraseFor is for how long the history of a deleted device is erased again: the longest
	// windows that were open are written after it was deleted, and a lane forgets a device
	// after 7 days of silence. The pause grows from eraseFirst on, to a quarter of the time
	// since.
	eraseFor   = 8 * 24 * time.Hour
	eraseFirst = time.Minute
	// quietFor is for how long a device must not have reported before it is deleted: what it
	// sent is stored by then.
	quietFor = 5 * time.Minute
)

// departed knows the devices that people removed. It erases the history of those that were
// deleted, and names those that others continue.
type departed struct {
	js      jetstream.JetStream
	client  *influx.Client
	fleet   *fleet.Fleet
	log     *slog.Logger
	changes recorder
	// know shows an entry of the registry, before the watch delivers it.
	know func(registry.Device)

	mu    sync.Mutex // guards what follows
	gone  map[deviceName]registry.Gone
	tried map[deviceName]time.Time // when it was last tried to erase the history of a deleted one
}

func newDeparted(js jetstream.JetStream, client *influx.Client, f *fleet.Fleet, log *slog.Logger, changes recorder, know func(registry.Device)) *departed {
	return &departed{
		js: js, client: client, fleet: f, log: log, changes: changes, know: know,
		gone: make(map[deviceName]registry.Gone), tried: make(map[deviceName]time.Time),
	}
}

// on applies an entry of the bucket, if it is about a removed device.
func (d *departed) on(entry jetstream.KeyValueEntry) {
	site, device, ok := streams.ParseGoneKey(entry.Key())
	if !ok {
		return
	}
	if entry.Operation() == jetstream.KeyValuePut {
		if g, err := registry.DecodeGone(entry.Value()); err == nil {
			d.put(deviceName{site, device}, g)
		} else {
			d.log.Warn("what became of a device cannot be read", "device", site+"/"+device, "err", err)
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.gone, deviceName{site, device})
	delete(d.tried, deviceName{site, device})
}

func (d *departed) put(n deviceName, g registry.Gone) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have, known := d.gone[n]; known && !have.At.Before(g.At) || !known && len(d.gone) >= maxGone {
		return
	}
	d.gone[n] = g
	delete(d.tried, n)
}

// former returns the devices that a device continues, and those that these did, at most
// maxFormer.
func (d *departed) former(site, device string) []deviceName {
	d.mu.Lock()
	defer d.mu.Unlock()
	of := []deviceName{{site, device}}
	for i := 0; i < len(of) && len(of) <= maxFormer; i++ {
		for n, g := range d.gone {
			if !g.Deleted() && (deviceName{g.Site, g.Device}) == of[i] && n != of[0] && len(of) <= maxFormer {
				of = append(of, n)
			}
		}
	}
	return of[1:]
}

// run erases what was written after devices were deleted, until ctx ends.
func (d *departed) run(ctx context.Context) {
	failing := false
	for ; ctx.Err() == nil; process.Sleep(ctx, retryEvery) {
		err := d.eraseDue(ctx, time.Now())
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			d.log.Warn("the history of deleted devices cannot be erased; trying again", "err", err)
		}
		failing = err != nil
	}
}

// eraseDue erases the history of the devices for which that is due, and forgets those for which
// it is no longer necessary.
func (d *departed) eraseDue(ctx context.Context, now time.Time) error {
	d.mu.Lock()
	due := make(map[deviceName]registry.Gone)
	for n, g := range d.gone {
		if last := d.tried[n]; g.Deleted() && now.Sub(last) > max(eraseFirst, now.Sub(g.At)/4) {
			due[n] = g
		}
	}
	d.mu.Unlock()
	var errs []error
	for n, g := range due {
		err := d.erase(ctx, n, g, now)
		if (err == nil || errors.Is(err, influx.ErrKeeps)) && now.Sub(g.At) > eraseFor {
			err = d.forget(ctx, n)
		}
		if err != nil && !errors.Is(err, influx.ErrKeeps) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (d *departed) erase(ctx context.Context, n deviceName, g registry.Gone, now time.Time) error {
	d.mu.Lock()
	if d.gone[n].At.Equal(g.At) {
		d.tried[n] = now
	}
	d.mu.Unlock()
	if err := d.client.Erase(ctx, n.site, n.device, g.At); err != nil {
		return fmt.Errorf("erase the history of %s/%s: %w", n.site, n.device, err)
	}
	return nil
}

// forget removes what became of a device.
func (d *departed) forget(ctx context.Context, n deviceName) error {
	kv, err := d.js.KeyValue(ctx, streams.BucketAbout)
	if err == nil {
		err = kv.Delete(ctx, streams.GoneKey(n.site, n.device))
	}
	if err != nil {
		return fmt.Errorf("forget %s/%s: %w", n.site, n.device, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.gone, n)
	delete(d.tried, n)
	return nil
}

// DeleteDevice implements registry.Source.
func (d *departed) DeleteDevice(ctx context.Context, by, site, device string, force bool) (registrypages.Removed, error) {
	out, err := d.delete(ctx, site, device, force)
	d.changes.record(ctx, audit.Entry{Who: by, Action: audit.DeviceDelete, Object: site + "/" + device, Detail: out.History}, err)
	return out, err
}

func (d *departed) delete(ctx context.Context, site, device string, force bool) (out registrypages.Removed, err error) {
	now := time.Now().UTC()
	if _, there := d.fleet.Device(site, device, now); !there {
		return out, view.ErrNotFound
	}
	all := append([]deviceName{{site, device}}, d.former(site, device)...)
	for _, n := range all {
		// One that it continues may have appeared again.
		if known, there := d.fleet.Device(n.site, n.device, now); there && !force && now.Sub(known.LastSeen) < quietFor {
			return out, fmt.Errorf("%w: %s/%s has reported within the last 5 minutes and would appear again. Stop it or revoke its credential first, or delete what it has sent until now", registrypages.ErrDraft, n.site, n.device)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, queryWithin)
	defer cancel()
	for _, n := range all {
		g := registry.Gone{At: now}
		if err := registry.Remove(ctx, d.js, n.site, n.device, g); err != nil {
			return out, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
		}
		d.put(n, g)
		d.fleet.Forget(n.site, n.device, now)
		out.Devices = append(out.Devices, n.site+"/"+n.device)
		switch err := d.erase(ctx, n, g, now); {
		case errors.Is(err, influx.ErrKeeps):
			out.History = influx.ErrKeeps.Error()
		case err != nil:
			out.History = "its history could not be erased yet, which is tried again: " + reason(err)
		}
	}
	return out, nil
}

// MergeDevice implements registry.Source.
func (d *departed) MergeDevice(ctx context.Context, by string, from, into registrypages.Name) error {
	err := d.merge(ctx, deviceName{from.Site, from.Device}, deviceName{into.Site, into.Device})
	d.changes.record(ctx, audit.Entry{Who: by, Action: audit.DeviceMerge, Object: from.String(), After: into.String()}, err)
	return err
}

func (d *departed) merge(ctx context.Context, from, into deviceName) error {
	now := time.Now().UTC()
	if _, there := d.fleet.Device(from.site, from.device, now); !there {
		return view.ErrNotFound
	}
	if from == into {
		return fmt.Errorf("%w: it has that name", registrypages.ErrDraft)
	}
	if len(d.former(from.site, from.device))+len(d.former(into.site, into.device)) >= maxFormer {
		return fmt.Errorf("%w: one device continues at most %d others", registrypages.ErrDraft, maxFormer)
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	d.mu.Lock()
	_, back := d.gone[into]
	d.mu.Unlock()
	g := registry.Gone{At: now, Site: into.site, Device: into.device}
	known, err := registry.Continue(ctx, d.js, from.site, from.device, g)
	if err == nil && back { // it is there again
		err = d.forget(ctx, into)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	d.know(known)
	d.put(from, g)
	d.fleet.Forget(from.site, from.device, now)
	return nil
}

// Former implements registry.Source.
func (d *departed) Former(site, device string) []registrypages.Name {
	var out []registrypages.Name
	for _, n := range d.former(site, device) {
		out = append(out, registrypages.Name{Site: n.site, Device: n.device})
	}
	return out
}
