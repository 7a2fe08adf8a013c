package point_test

import (
	"fmt"

	"headwater/services/writer/point"
)

// The beginning of a line is built once for each series. Each call then appends one
// line of line protocol.
func Example() {
	prefix := point.AppendValuePrefix(nil, point.Series{Site: "hall", Device: "door-1", Metric: "temperature"})
	var lines []byte
	lines = point.AppendValue(lines, prefix, 21.5, 1_773_500_966_000_000_000)
	lines = point.AppendValue(lines, prefix, 21.75, 1_773_500_967_000_000_000)
	fmt.Printf("%s", lines)
	// Output:
	// temperature,device=door-1,site=hall value=21.5 1773500966000000000
	// temperature,device=door-1,site=hall value=21.75 1773500967000000000
}
