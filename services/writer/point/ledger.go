package point

import "strconv"

// MeasurementLedger is the measurement of the ledger.
const MeasurementLedger = "ledger"

// Entry is a part of the ledger of one device in one minute of arrival. The entries of a
// minute add up. An entry without a device counts messages that named none.
type Entry struct {
	Site, Device, Source string
	// Minute is the start of the minute in nanoseconds since the Unix epoch.
	Minute int64
	// Key distinguishes entries of the same device, source and minute. An entry that is
	// written again with the same key replaces itself.
	Key uint64
	// Readings, Rejected, Missing and Conflicts are as in derived.v1.LedgerEntry. Last
	// is the last message of TELEMETRY that is counted.
	Readings, Rejected, Missing, Conflicts, Last uint64
}

// minute is in nanoseconds. The time of an entry is the start of its minute plus its
// key modulo a minute.
const minute = 60_000_000_000

// AppendEntry appends an entry that a lane counted.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = appendEntryKey(dst, e)
	for _, f := range []struct {
		name  string
		value uint64
	}{{"conflicts=", e.Conflicts}, {"i,last=", e.Last}, {"i,missing=", e.Missing}, {"i,readings=", e.Readings}, {"i,rejected=", e.Rejected}} {
		dst = append(dst, f.name...)
		dst = strconv.AppendUint(dst, f.value, 10)
	}
	dst = append(dst, 'i')
	return appendTime(dst, e.Minute+int64(e.Key%minute))
}

// AppendRefusal appends an entry for one reading of the device that InfluxDB refused.
func AppendRefusal(dst []byte, e *Entry) []byte {
	dst = append(appendEntryKey(dst, e), "refused=1i"...)
	return appendTime(dst, e.Minute+int64(e.Key%minute))
}

// appendEntryKey appends measurement and tags; no tag may be empty.
func appendEntryKey(dst []byte, e *Entry) []byte {
	dst = append(dst, MeasurementLedger...)
	for _, tag := range []struct{ name, value string }{{",device=", e.Device}, {",site=", e.Site}, {",source=", e.Source}} {
		if tag.value != "" {
			dst = append(dst, tag.name...)
			dst = appendName(dst, tag.value, true)
		}
	}
	return append(dst, ' ')
}
