package figure_test

import (
	"fmt"

	"headwater/proto/figure"
)

func ExampleNumber() {
	fmt.Println(figure.Number(24.8431), figure.Number(0.00012345), figure.Number(1e21))
	// Output: 24.84 0.000123 1e+21
}

// Apart adds digits until a value and its limit look different.
func ExampleApart() {
	fmt.Println(figure.Number(8.0002), figure.Apart(8.0002, 8))
	// Output: 8 [8.0002 8]
}

func ExampleParseDuration() {
	for _, text := range []string{"90s", "1d12h", "2 minutes"} {
		d, err := figure.ParseDuration(text)
		fmt.Println(d, err)
	}
	// Output:
	// 1m30s <nil>
	// 36h0m0s <nil>
	// 2m0s <nil>
}
