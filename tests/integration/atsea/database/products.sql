CREATE TABLE product (productid int PRIMARY KEY, name text NOT NULL, price numeric(10, 2) NOT NULL);
INSERT INTO product VALUES
	(1, 'Docker for Developers', 25.00),
	(2, 'Whale Plush', 13.50),
	(3, 'Moby Mug', 8.95);
