exports.greeting = "welcome to the storefront";
