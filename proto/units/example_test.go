package units_test

import (
	"fmt"

	"headwater/proto/units"
)

// Spellings of one unit have one name. A value converts only within a kind of unit.
func Example() {
	fmt.Println(units.Name("celsius"), units.Same("degC", "°C"))
	fmt.Println(units.Convert(68, "F", "C"))
	_, ok := units.Convert(68, "F", "hPa")
	fmt.Println(ok)
	// Output:
	// °C true
	// 20 true
	// false
}
