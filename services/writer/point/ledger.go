package point

import "strconv"

// MeasurementLedger is the measurement of the ledger.
const MeasurementLedger = "ledger"

// Entry is a part of the account of one device in one minute of arrival. Entries
// add up. One without a device is of messages that did not say.
type Entry struct {
	Site, Device, Source string
	// Minute is the start of the minute in nanoseconds since the Unix epoch.
	Minute int64
	// Key tells entries of the same device, source and minute apart: one that is
	// written again with the same key replaces itself.
	Key uint64
	// Readings, Rejected, Missing and Conflicts are as in derived.v1.LedgerEntry,
	// and Last is the last message of TELEMETRY that is counted.
	Readings, Rejected, Missing, Conflicts, Last uint64
}

// minute is in nanoseconds. An entry is as many nanoseconds after the start of
// its minute as its key says.
const minute = 60_000_000_000

// AppendEntry appends an entry of what the lanes counted.
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

// AppendRefusal appends that InfluxDB refused one reading of the device.
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
