const fs = require("fs");
fs.mkdirSync("build/static", { recursive: true });
fs.writeFileSync("build/index.html", require("words").greeting);
fs.writeFileSync("build/static/main.js", fs.readFileSync("src/main.js"));
